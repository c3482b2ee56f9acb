"""Teacher-forced scores over HTTP: the probabilities that a served model gives to a target.

The prompt is not known as the model sees it, since a proxy writes edits into it; and a router that
read the target behind the prompt would decide about a text that nobody sends.  So it takes two
requests.  The prompt alone goes the way of any request, and the server tells the tokens that came
of it (``return_token_ids``).  These go, with the target's behind them, past all edits, and come
back echoed with log-probabilities: whatever was inserted, the target's are those behind the
prompt's.  vLLM and memedit's own engine can do both; OpenAI's API and many others can not.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, TypeVar

from memedit.errors import UpstreamError, UpstreamTimeout, UpstreamUnreachable
from memedit.evaluation.protocols import Forced
from memedit.modeling.tokens import Encoded, joint

CHAT, COMPLETIONS, TOKENIZE = "/v1/chat/completions", "/v1/completions", "/tokenize"
BYPASS = {"x-memedit-bypass": "1"}
Ask = Callable[[str, Mapping[str, Any], Mapping[str, str]], tuple[Any, Mapping[str, str]] | None]
"""(path, body, headers) -> JSON and headers (names in lower case) of the answer; ``None``: the
prompt is longer than the model reads.  Raises ``UpstreamError`` where it is refused."""
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
_ID = "token_id:"
_NOTHING_SPECIAL = SimpleNamespace(all_special_ids=(), added_tokens_decoder={})


@dataclass(frozen=True, slots=True)
class Put:
    """A prompt as it is put to a server."""

    prompt: str
    chat: bool
    """Whether as the user's turn of a chat."""
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """A prompt as it reached a model."""

    ids: tuple[int, ...]
    model: str
    """The served model, or the adapter that the proxy chose."""


class EchoScores:
    """Scores targets at a server.

    Args:
        ask: the way to it.
        served: the model's name.
        at_once: requests in flight.

    """

    def __init__(self, ask: Ask, served: str, at_once: int = 16) -> None:
        self._ask = ask
        self._served = served
        self._at_once = at_once

    def possible(self) -> bool:
        """Try whether the server can do what is needed.

        Raises:
            UpstreamUnreachable: nobody answers.
            UpstreamTimeout: not in time.

        """
        try:
            [found] = self.score([Put("One, two,", chat=False, headers=(*BYPASS.items(),))], ["3"])
        except (UpstreamUnreachable, UpstreamTimeout):
            raise
        except UpstreamError:
            return False
        return all(map(math.isfinite, found.log_probability))

    def score(self, puts: Sequence[Put], targets: Sequence[str]) -> list[Forced]:
        """Return the scores of ``targets[i]`` after ``puts[i]``; equal requests are made once.

        A text that is too long for the model has log-probabilities of minus infinity.

        Raises:
            UpstreamError: the server refuses a request, or does not answer as is needed.

        """
        seen = self._each(self._seen, puts)
        pairs = zip(puts, targets, strict=True)
        fed = self._each(self._target, [(put.prompt, put.chat, target) for put, target in pairs])
        return self._each(self._forced, list(zip(seen, fed, strict=True)))

    def _each(self, do: Callable[[K], V], items: Sequence[K]) -> list[V]:
        once = list(dict.fromkeys(items))
        with ThreadPoolExecutor(self._at_once) as pool:
            found = dict(zip(once, pool.map(do, once), strict=True))
        return [found[item] for item in items]

    def _seen(self, put: Put) -> Seen | None:
        """Send a prompt alone; return what reached the model."""
        body: dict[str, Any] = {"model": self._served, "max_tokens": 1, "temperature": 0}
        body |= _asking(put.prompt) if put.chat else {"prompt": put.prompt}
        body["return_token_ids"] = True
        found = self._ask(CHAT if put.chat else COMPLETIONS, body, dict(put.headers))
        if found is None:
            return None
        value, headers = found
        with _reading("the tokens of a prompt (return_token_ids)"):
            ids = (value if put.chat else value["choices"][0])["prompt_token_ids"]
            return Seen(_ids(ids), headers.get("x-memedit-adapter") or self._served)

    def _target(self, asked: tuple[str, bool, str]) -> tuple[int, ...]:
        """Return a target's tokens as they follow its prompt; see ``modeling.encode_pair``."""
        prompt, chat, target = asked
        if chat:
            answered = {"role": "assistant", "content": target}
            before = {**_asking(prompt), "add_generation_prompt": True}
            whole = {
                "messages": [*_asking(prompt)["messages"], answered],
                "add_generation_prompt": False,
                "continue_final_message": True,
            }
        else:
            between = joint(_NOTHING_SPECIAL, Encoded(prompt, (0,), None), None, target)
            target = f"{between}{target}"
            before, whole = {"prompt": prompt}, {"prompt": f"{prompt}{target}"}
        first, both = self._tokens(before), self._tokens(whole)
        if both[: len(first)] == first and len(both) > len(first):
            return both[len(first) :]
        # The boundary was merged, or a template puts something else into a history than a prompt.
        return self._tokens({"prompt": target, "add_special_tokens": False})

    def _tokens(self, body: Mapping[str, Any]) -> tuple[int, ...]:
        found = self._ask(TOKENIZE, {"model": self._served, **body}, BYPASS)
        with _reading(f"tokens of {TOKENIZE}"):
            return _ids(found[0]["tokens"] if found is not None else None)

    def _forced(self, pair: tuple[Seen | None, tuple[int, ...]]) -> Forced:
        seen, target = pair
        n = len(target)
        nothing = Forced((False,) * n, (-math.inf,) * n, (-1,) * n)
        if seen is None:
            return nothing
        body = {"model": seen.model, "prompt": [*seen.ids, *target], "max_tokens": 0}
        body |= {"temperature": 0, "echo": True, "logprobs": 1, "return_tokens_as_token_ids": True}
        found = self._ask(COMPLETIONS, body, BYPASS)
        if found is None:
            return nothing
        with _reading("log-probabilities of an echoed prompt (echo, logprobs)"):
            told = found[0]["choices"][0]["logprobs"]
            place = slice(len(seen.ids), len(seen.ids) + n)
            logs = tuple(map(float, told["token_logprobs"][place]))
            tops: list[Mapping[str, float]] = told["top_logprobs"][place]
            if not len(logs) == len(tops) == n:
                raise LookupError(f"{len(logs)} of {n}")
            return _read(target, logs, tops)


def _read(
    target: Sequence[int], logs: Sequence[float], tops: Sequence[Mapping[str, float]]
) -> Forced:
    """Compare each target token with the most probable one in its place."""
    best = [max(top, key=lambda name, top=top: top[name]) for top in tops]  # type: ignore[misc]
    right = [log >= top[name] for log, top, name in zip(logs, tops, best, strict=True)]
    predicted = [
        token if same else _id(name) for token, same, name in zip(target, right, best, strict=True)
    ]
    return Forced(tuple(right), tuple(logs), tuple(predicted))


def _id(name: str) -> int:
    """Return a token's id; of a server that names tokens by their text, a number of that text."""
    if name.startswith(_ID) and name.removeprefix(_ID).isdecimal():
        return int(name.removeprefix(_ID))
    return zlib.crc32(name.encode())


def _ids(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(isinstance(one, int) for one in value):
        raise TypeError(f"expected token ids, got {type(value).__name__}")
    return tuple(value)


def _asking(prompt: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}]}


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Say what an answer lacks where reading it fails."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UpstreamError(
            f"the server does not give {what}: {type(error).__name__}: {error}"
        ) from error
