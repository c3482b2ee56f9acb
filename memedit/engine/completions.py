"""POST /v1/completions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from memedit.engine.bodies import CompletionBody, check_model, read_body
from memedit.engine.detokenizer import TokenTexts
from memedit.engine.faults import ApiFault
from memedit.engine.generation import EventStream, Generation, answered_or_gone
from memedit.engine.loading import LoadedModel
from memedit.engine.parameters import check_prompt, check_supported, sampling_params
from memedit.engine.replies import LOWEST, Reply
from memedit.engine.sampling import TokenScore
from memedit.engine.scheduler import Scheduler
from memedit.engine.sequence import Delta

MAX_SEQUENCES = 4_096
"""Prompts times n of one request."""


@dataclass(frozen=True, slots=True)
class _Prompt:
    tokens: list[int]
    text: str


class Completions:
    """The route.  A batch's choices are numbered prompt by prompt: ``prompt * n + choice``."""

    def __init__(self, scheduler: Scheduler, texts: TokenTexts) -> None:
        self._scheduler = scheduler
        self._loaded = scheduler.loaded
        self._texts = texts

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        body = await read_body(request, CompletionBody)
        check_model(body, self._loaded.name)
        check_supported(body)
        if body.suffix:
            raise ApiFault("suffix is not supported; leave it out.", param="suffix")
        prompts = self._prompts(body)
        n = body.n or 1
        if len(prompts) * n > MAX_SEQUENCES:
            raise ApiFault(
                f"{len(prompts)} prompts with n={n} are {len(prompts) * n} sequences; at most "
                f"{MAX_SEQUENCES} can be asked for at once.",
                param="prompt",
            )
        if body.max_tokens == 0 and not body.echo:
            raise ApiFault("max_tokens must be at least 1, got 0.", param="max_tokens")
        jobs = [
            (
                prompt.tokens,
                sampling_params(
                    body,
                    self._loaded,
                    prompt_length=len(prompt.tokens),
                    max_tokens=body.max_tokens,
                    logprobs=body.logprobs,
                    prompt_logprobs=body.logprobs if body.echo else None,
                    choice=choice,
                ),
            )
            for prompt in prompts
            for choice in range(n)
        ]
        generation = Generation(self._scheduler, jobs, stream=bool(body.stream))
        reply = Reply(
            "cmpl",
            "text_completion",
            self._loaded.name,
            prompt_tokens=sum(len(prompt.tokens) for prompt in prompts),
        )
        choices = [_Choice(body, prompt, self._texts) for prompt in prompts for _ in range(n)]

        def choice_of(index: int, delta: Delta) -> dict[str, Any]:
            return {"index": index, **choices[index].take(delta)}

        if body.stream:
            events = reply.events(generation, choice_of, body, [])
            return EventStream(events, generation.cancel)

        async def answer() -> Response:
            return JSONResponse(await reply.whole(generation, choice_of))

        return await answered_or_gone(request, answer(), generation.cancel)

    def _prompts(self, body: CompletionBody) -> list[_Prompt]:
        given: Any = body.prompt
        if given is None:
            raise ApiFault("prompt is missing; expected a text or token ids.", param="prompt")
        single = isinstance(given, str) or (bool(given) and isinstance(given[0], int))
        listed: Sequence[Any] = [given] if single else given
        if not listed:
            raise ApiFault("prompt is an empty list; expected at least one.", param="prompt")
        room = 0 if body.max_tokens == 0 else 1
        return [self._prompt(one, body, room) for one in listed]

    def _prompt(self, given: str | list[int], body: CompletionBody, room: int) -> _Prompt:
        if isinstance(given, str):
            tokens = encoded(self._loaded, given, special=body.add_special_tokens)
            return _Prompt(check_prompt(tokens, self._loaded, room=room), given)
        check_prompt(given, self._loaded, room=room)
        return _Prompt(given, self._loaded.tokenizer.decode(given) if body.echo else "")


def encoded(loaded: LoadedModel, text: str, *, special: bool) -> list[int]:
    """Return the tokens of ``text``; ``special`` adds what the tokenizer puts around a text."""
    tokens: list[int] = loaded.tokenizer(text, add_special_tokens=special, verbose=False).input_ids
    return tokens


class _Choice:
    """One choice while it grows."""

    def __init__(self, body: CompletionBody, prompt: _Prompt, texts: TokenTexts) -> None:
        self._body = body
        self._prompt = prompt
        self._texts = texts
        self._offset = 0  # characters of all tokens that were scored so far
        self._begun = False

    def take(self, delta: Delta) -> dict[str, Any]:
        """Return the JSON of what ``delta`` adds."""
        opening = not self._begun
        self._begun = True
        text, found = delta.text, list(delta.scores)
        if opening and self._body.echo:
            text = self._prompt.text + text
            first = TokenScore(self._prompt.tokens[0], None)
            found = [first, *(delta.prompt_scores or ()), *found]
        choice: dict[str, Any] = {
            "text": text,
            "logprobs": self._logprobs(found) if self._body.logprobs is not None else None,
            "finish_reason": delta.finish_reason,
            "stop_reason": delta.stop_reason,
        }
        if self._body.return_token_ids:
            choice["token_ids"] = list(delta.tokens)
            if opening:
                choice["prompt_token_ids"] = self._prompt.tokens
        return choice

    def _logprobs(self, found: list[TokenScore]) -> dict[str, Any]:
        tokens = [self._texts[score.token] for score in found]
        offsets = []
        for token in tokens:
            offsets.append(self._offset)
            self._offset += len(token)
        return {
            "text_offset": offsets,
            "token_logprobs": [
                None if score.logprob is None else max(score.logprob, LOWEST) for score in found
            ],
            "tokens": tokens,
            "top_logprobs": [self._top(score) for score in found],
        }

    def _top(self, score: TokenScore) -> dict[str, float] | None:
        """Return the best alternatives, and always the token itself (so up to logprobs + 1)."""
        if score.logprob is None:
            return None
        pairs = ((score.token, score.logprob), *score.top)
        named: dict[str, float] = {}
        for token, logprob in pairs:
            named.setdefault(self._texts[token], max(logprob, LOWEST))
        return named
