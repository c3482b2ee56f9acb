"""POST /v1/chat/completions."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from memedit.engine.bodies import ChatBody, check_model, read_body
from memedit.engine.completions import encoded
from memedit.engine.detokenizer import TokenTexts
from memedit.engine.faults import ApiFault
from memedit.engine.generation import EventStream, Generation, answered_or_gone
from memedit.engine.parameters import check_prompt, check_supported, sampling_params
from memedit.engine.replies import LOWEST, Reply
from memedit.engine.sampling import TokenScore
from memedit.engine.scheduler import Scheduler
from memedit.engine.sequence import Delta
from memedit.engine.template import rendered


class ChatCompletions:
    """The route."""

    def __init__(self, scheduler: Scheduler, texts: TokenTexts) -> None:
        self._scheduler = scheduler
        self._loaded = scheduler.loaded
        self._texts = texts

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        body = await read_body(request, ChatBody)
        check_model(body, self._loaded.name)
        check_supported(body)
        _check_tools(body)
        if body.top_logprobs and not body.logprobs:
            raise ApiFault("top_logprobs needs logprobs=true.", param="top_logprobs")
        text = rendered(self._loaded.tokenizer, body)
        prompt = check_prompt(
            encoded(self._loaded, text, special=body.add_special_tokens), self._loaded
        )
        asked = body.max_completion_tokens
        n = body.n or 1
        jobs = [
            (
                prompt,
                sampling_params(
                    body,
                    self._loaded,
                    prompt_length=len(prompt),
                    max_tokens=body.max_tokens if asked is None else asked,
                    logprobs=(body.top_logprobs or 0) if body.logprobs else None,
                    choice=choice,
                ),
            )
            for choice in range(n)
        ]
        generation = Generation(self._scheduler, jobs, stream=bool(body.stream))
        if body.stream:
            reply = Reply("chatcmpl", "chat.completion.chunk", self._loaded.name, len(prompt))
            opening = [self._opening(index) for index in range(n)]
            events = reply.events(generation, self._part(body), body, opening)
            return EventStream(events, generation.cancel)
        reply = Reply("chatcmpl", "chat.completion", self._loaded.name, len(prompt))

        async def answer() -> Response:
            whole = await reply.whole(generation, self._whole(body))
            if body.return_token_ids:
                whole["prompt_token_ids"] = prompt
            return JSONResponse(whole)

        return await answered_or_gone(request, answer(), generation.cancel)

    @staticmethod
    def _opening(index: int) -> dict[str, Any]:
        delta = {"role": "assistant", "content": ""}
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}

    def _part(self, body: ChatBody) -> Any:
        def choice_of(index: int, delta: Delta) -> dict[str, Any]:
            choice = {"index": index, "delta": {"content": delta.text}, **self._end(body, delta)}
            if delta.finish_reason is None:
                del choice["stop_reason"]
            return choice

        return choice_of

    def _whole(self, body: ChatBody) -> Any:
        def choice_of(index: int, delta: Delta) -> dict[str, Any]:
            message = {"role": "assistant", "content": delta.text, "refusal": None}
            return {"index": index, "message": message, **self._end(body, delta)}

        return choice_of

    def _end(self, body: ChatBody, delta: Delta) -> dict[str, Any]:
        """Return what follows the text in a choice."""
        content = [self._logprob(score) for score in delta.scores]
        end: dict[str, Any] = {
            "logprobs": {"content": content} if body.logprobs else None,
            "finish_reason": delta.finish_reason,
            "stop_reason": delta.stop_reason,
        }
        if body.return_token_ids:
            end["token_ids"] = list(delta.tokens)
        return end

    def _logprob(self, score: TokenScore) -> dict[str, Any]:
        top = [self._entry(token, logprob) for token, logprob in score.top]
        return {**self._entry(score.token, score.logprob), "top_logprobs": top}

    def _entry(self, token: int, logprob: float | None) -> dict[str, Any]:
        text = self._texts[token]
        value = LOWEST if logprob is None else max(logprob, LOWEST)
        return {"token": text, "logprob": value, "bytes": list(text.encode())}


def _check_tools(body: ChatBody) -> None:
    """Refuse tools that the model would be free to call; ``tool_choice: none`` is harmless."""
    if (body.tools and body.tool_choice != "none") or body.functions:
        raise ApiFault(
            "tools are not supported by the embedded engine; leave them out, send "
            "tool_choice='none', or serve the model with vLLM.",
            param="tools",
        )
