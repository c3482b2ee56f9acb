"""Answers made of choices: chat completions and completions."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from memedit.routing.events import written
from memedit.routing.wire.answers import Answers, AnswerStream, Said, spaced, texts_in


class ChoiceAnswers(Answers):
    """What both APIs have in common; ``chat`` says which of them it is."""

    many = True

    def __init__(self, *, chat: bool) -> None:
        self.chat = chat

    def spoken(self, answer: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
        """Yield the texts of all choices."""
        for number, choice in _choices(answer):
            for _, text in texts_in(_body(choice)):
                yield number, text

    def withhold(self, answer: dict[str, Any], choice: int, safe: str) -> None:
        """Keep of the choice only its number."""
        said: dict[str, Any] = (
            {"message": {"role": "assistant", "content": safe}} if self.chat else {"text": safe}
        )
        answer["choices"] = [
            {"index": number, **said, "logprobs": None, "finish_reason": "stop"}
            if number == choice
            else one
            for number, one in _choices(answer)
        ]

    def stream(self) -> AnswerStream:
        """Follow chunks."""
        return _ChoiceStream(self.chat)


class _ChoiceStream(AnswerStream):
    def __init__(self, chat: bool) -> None:
        self._chat = chat
        self._shown: dict[int, str] = {}  # the last visible text of every choice that has begun

    def said(self, event: Mapping[str, Any]) -> Iterator[Said]:
        for number, choice in _choices(event):
            for path, text in texts_in(_body(choice)):
                yield Said(number, path, text)

    def over(self, event: Mapping[str, Any]) -> Collection[int]:
        return [number for number, one in _choices(event) if one.get("finish_reason") is not None]

    def see(self, event: Mapping[str, Any]) -> None:
        for number, choice in _choices(event):
            delta = choice.get("delta") if self._chat else choice
            text = delta.get("content" if self._chat else "text") if delta else None
            if text or number not in self._shown:
                self._shown[number] = text if isinstance(text, str) else ""

    def withheld(self, event: Mapping[str, Any], choice: int, safe: str) -> bytes:
        frame = {name: event[name] for name in event if name not in ("choices", "usage")}
        text = spaced(self._shown.get(choice, ""), safe)
        role = {} if choice in self._shown else {"role": "assistant"}
        first: dict[str, Any] = (
            {"delta": {**role, "content": text}} if self._chat else {"text": text}
        )
        last: dict[str, Any] = {"delta": {}} if self._chat else {"text": ""}
        return b"".join(
            written(
                {
                    **frame,
                    "choices": [
                        {"index": choice, **said, "logprobs": None, "finish_reason": reason}
                    ],
                }
            )
            for said, reason in ((first, None), (last, "stop"))
        )

    def end(self) -> bytes:
        return b"data: [DONE]\n\n"

    def without(
        self, event: Mapping[str, Any], choices: Collection[int]
    ) -> Mapping[str, Any] | None:
        there = list(_choices(event))
        kept = [one for number, one in there if number not in choices]
        if len(kept) == len(there):
            return event
        return {**event, "choices": kept} if kept else None


def _choices(answer: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    given = answer.get("choices")
    for position, choice in enumerate(given if isinstance(given, list) else ()):
        if isinstance(choice, Mapping):
            number = choice.get("index")
            yield (number if isinstance(number, int) else position), choice


def _body(choice: Mapping[str, Any]) -> list[Any]:
    return [{name: inner} for name, inner in choice.items() if name in ("message", "delta", "text")]
