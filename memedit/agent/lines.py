"""The lines of a transcript: their labels, written in one place and read back with tolerance.

What a model writes is foreign text.  Reading it never fails: what carries no label is left out,
and whatever stands behind the line that an agent waits for is not believed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Label(StrEnum):
    """What begins a line."""

    QUESTION = "Question"
    ENTITY = "Entity of Question"
    SUBQUESTION = "Subquestion"
    GENERATED = "Generated answer"
    FACT = "Retrieved fact"
    CONTRADICTS = "Retrieved fact contradicts to generated answer, so the intermediate answer is"
    AGREES = "Retrieved fact does not contradict to generated answer, so the intermediate answer is"
    READ = "According to Generated answer, the entity of Subquestion is"
    FINAL = "Final answer"


@dataclass(frozen=True, slots=True)
class Line:
    """One labelled line; ``text`` is one line too, and may be empty."""

    label: Label
    text: str

    def __str__(self) -> str:
        return f"{self.label.value}: {self.text}" if self.text else f"{self.label.value}:"


_DECORATION: Final = re.compile(r"^[\s>#*_`•-]+|[\s*_`]+$")
_VERDICT: Final = re.compile(
    r"(?:\d+[.)]\s*)?(?:the )?retrieved fact\s+(?P<not>(?:does\s*n[o']t|doesn.t|do not|not)\s+)?"
    r"contradicts?\b(?P<rest>.*)$",
    re.IGNORECASE,
)
_INTERMEDIATE: Final = re.compile(r"\bintermediate answer is\b\s*:?\s*(?P<text>.*)$", re.IGNORECASE)
_LABELLED: Final = re.compile(
    r"(?:\d+[.)]\s*)?"
    r"(?P<label>according to (?:the )?generated answer,?\s*the entity of (?:the )?subquestion is"
    r"|entity of (?:the )?question|sub-?\s?question|generated answer|retrieved fact"
    r"|final answer|question)"
    r"(?:\s*\d+)?\s*[*_`]*\s*:\s*[*_`]*\s*(?P<text>.*)$",
    re.IGNORECASE,
)
_UNKNOWN: Final = re.compile(r"\bI (?:do not|do?n.t) know\b", re.IGNORECASE)
_BY_FIRST_WORD: Final = {
    "according": Label.READ,
    "entity": Label.ENTITY,
    "sub": Label.SUBQUESTION,
    "subquestion": Label.SUBQUESTION,
    "generated": Label.GENERATED,
    "retrieved": Label.FACT,
    "final": Label.FINAL,
    "question": Label.QUESTION,
}


def read_lines(text: str) -> tuple[Line, ...]:
    """Read the labelled lines of what a model wrote, in their order.

    A label with nothing behind it takes the next line that carries no label; Markdown around
    labels, numbers behind them and letter case do not matter.
    """
    found: list[Line] = []
    for raw in text.splitlines():
        plain = _DECORATION.sub("", raw)
        if not plain:
            continue
        line = _read_line(plain)
        if line is not None:
            found.append(line)
        elif found and not found[-1].text:
            found[-1] = Line(found[-1].label, one_line(plain))
    return tuple(found)


def _read_line(plain: str) -> Line | None:
    verdict = _VERDICT.match(plain)
    if verdict is not None:
        label = Label.AGREES if verdict["not"] else Label.CONTRADICTS
        said = _INTERMEDIATE.search(verdict["rest"])
        return Line(label, one_line(said["text"]) if said else "")
    labelled = _LABELLED.match(plain)
    if labelled is None:
        return None
    first = re.split(r"[\s-]", labelled["label"].lower(), maxsplit=1)[0]
    return Line(_BY_FIRST_WORD[first], one_line(labelled["text"]))


def one_line(text: str) -> str:
    """Return ``text`` on one line, so that it cannot pass for a line of the transcript."""
    return " ".join(text.split())


def answer_of(text: str) -> str:
    """Return an answer without the full stop that ends its line; that of "U.S." stays."""
    bare = one_line(text)
    shortened = bare.removesuffix(".")
    last = shortened.rsplit(" ", 1)[-1]
    return bare if "." in last or (len(last) == 1 and last.isalpha()) else shortened


def is_unknown(answer: str) -> bool:
    """Tell whether a model says, in English, that it does not know."""
    return _UNKNOWN.search(answer) is not None


def closed(answer: str) -> str:
    """Return an answer as its line ends: with one full stop."""
    bare = one_line(answer)
    return bare if bare.endswith((".", "!", "?")) else f"{bare}."
