"""What both parts of SERAC learn of a data set, and the rows that the counterfactual model reads.

A row is an edit, what is asked, and the answer.  Half of the rows have another answer than the data
set gives, in the edit and so in what is to be said: what is to be learned is to read the answer off
the edit, not to know it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from memedit.errors import InvalidInputError
from memedit.incontext.counterfactual import edit_text
from memedit.scope.split import held_out_subject
from memedit.types import EditRequest

SWAPPED: Final = 0.35
"""Share of rows whose answer is that of another edit."""
MADE_UP: Final = 0.15
"""Share of rows whose answer is a few random tokens, which nothing but the edit can tell."""
RENAMED: Final = 0.2
"""Share of rows whose subject is that of another edit."""
EARLIER: Final = 0.15
"""Share of chat rows that have an earlier turn."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt that an edit answers."""

    prompt: str
    answer: str


@dataclass(frozen=True, slots=True)
class Taught:
    """An edit with prompts that it answers and prompts that it does not."""

    request: EditRequest
    asked: tuple[Asked, ...]
    """Its own prompt first."""
    unrelated: tuple[str, ...] = ()
    relation: str = ""
    """What relation it changes; empty where that is not known."""

    @property
    def held_out(self) -> bool:
        """Whether nothing is trained on it: it is of the subjects that the result is tried on."""
        return held_out_subject(self.request.subject)


@dataclass(frozen=True, slots=True)
class Row:
    """What the counterfactual model reads, and is to say."""

    text: str
    """The edit's text with what is asked behind it."""
    chat: bool
    answer: str
    earlier: tuple[str, str] | None = None
    """A turn before it, and its answer."""


@dataclass(frozen=True)
class Rows:
    """A stream of rows that depends on the seed and on where one looks alone.

    Args:
        taught: the edits.
        tokenizer: whose tokens make answers up.
        can_chat: whether questions can be chat turns.
        seed: of everything that is drawn.

    """

    taught: Sequence[Taught]
    tokenizer: Any
    can_chat: bool
    seed: int
    _words: list[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.taught:
            raise InvalidInputError(
                "there is no edit to train on: a fifth of the subjects is kept out to be tried, "
                "and nothing is left; give more data"
            )
        special = set(self.tokenizer.all_special_ids)
        words = [
            number
            for number in range(len(self.tokenizer))
            if number not in special and self.tokenizer.decode([number]).strip().isalpha()
        ]
        object.__setattr__(self, "_words", words)

    def drawn(self, block: int, n: int) -> list[Row]:
        """Return the ``n`` rows of one block of the stream."""
        draw = random.Random(f"{self.seed}:{block}")
        return [self._one(draw) for _ in range(n)]

    def _one(self, draw: random.Random) -> Row:
        one = draw.choice(self.taught)
        # every second row asks in other words than the edit's own, where there are any
        others = one.asked[1:]
        asked = draw.choice(others) if others and draw.random() < 0.6 else one.asked[0]
        request, prompt, answer = one.request, asked.prompt, asked.answer
        if draw.random() < RENAMED and request.subject in request.prompt:
            name = draw.choice(self.taught).request.subject
            prompt = prompt.replace(request.subject, name)
            renamed = request.prompt.replace(request.subject, name)
            request = request.model_copy(update={"prompt": renamed})
        chance = draw.random()
        if answer == request.target_new and chance < SWAPPED + MADE_UP:
            answer = self._made_up(draw) if chance < MADE_UP else _another(draw, self.taught)
            request = request.model_copy(update={"target_new": answer})
        chat = self.can_chat and (prompt.rstrip().endswith("?") != (draw.random() < 0.15))
        earlier = None
        if chat and draw.random() < EARLIER:
            before = draw.choice(self.taught).asked[0]
            earlier = (before.prompt, before.answer)
        return Row(edit_text(request) + prompt, chat, answer, earlier)

    def _made_up(self, draw: random.Random) -> str:
        tokens = [draw.choice(self._words) for _ in range(draw.randint(1, 4))]
        made = " ".join(self.tokenizer.decode(tokens).split())
        return made or _another(draw, self.taught)


def _another(draw: random.Random, taught: Sequence[Taught]) -> str:
    return draw.choice(taught).request.target_new


def plain_rows(taught: Sequence[Taught], can_chat: bool) -> list[Row]:
    """Return one row for every prompt that the edits answer, as the data set has it."""
    return [
        Row(
            edit_text(one.request) + asked.prompt,
            can_chat and asked.prompt.rstrip().endswith("?"),
            asked.answer,
        )
        for one in taught
        for asked in one.asked
    ]
