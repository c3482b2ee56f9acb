"""One turn of a model that decomposes a question: what it concluded, asks next, or ends with."""

from __future__ import annotations

from dataclasses import dataclass

from memedit.agent.completing import Completion
from memedit.agent.lines import Label, Line, read_lines

_CONCLUSIONS = (Label.CONTRADICTS, Label.AGREES, Label.READ)


@dataclass(frozen=True, slots=True)
class Turn:
    """What was read of one turn; each part is there at most once, in this order."""

    conclusion: Line | None = None
    """What the model made of the fact, or which entity it read off the last answer."""
    subquestion: str | None = None
    generated: str | None = None
    """The model's own answer to ``subquestion``."""
    final: str | None = None
    """The final answer; never beside a subquestion, which is to be looked up first."""


def read_turn(said: Completion) -> Turn:
    """Read one turn; whatever a model writes, nothing here fails.

    A text that was cut off loses its last line, which may be half a line.  What follows a
    subquestion and its answer is the model's imagination: the facts are ours to look up.
    """
    text = said.text.rpartition("\n")[0] if said.cut_off else said.text
    conclusion: Line | None = None
    subquestion: str | None = None
    for line in read_lines(text):
        if subquestion is not None:
            generated = line.text if line.label is Label.GENERATED and line.text else None
            return Turn(conclusion, subquestion, generated)
        if line.label in _CONCLUSIONS:
            conclusion = conclusion or line
        elif line.label is Label.SUBQUESTION:
            subquestion = line.text or None
        elif line.label is Label.FINAL:
            return Turn(conclusion, final=line.text or None)
        elif conclusion is not None or line.label is Label.FACT:
            break  # another question begins, or a fact that nobody retrieved
    return Turn(conclusion, subquestion)


def own_answer(said: Completion) -> str | None:
    """Read the rest of a line that was begun with the label of the model's own answer."""
    if said.cut_off and "\n" not in said.text:
        return None
    for raw in said.text.splitlines():
        if raw.strip():
            read = read_lines(raw)
            if not read:
                return " ".join(raw.split())
            return (read[0].text or None) if read[0].label is Label.GENERATED else None
    return None
