"""What the pair classifier asks its model about one candidate."""

from __future__ import annotations

from dataclasses import dataclass

from memedit.scope.descriptions import descriptions
from memedit.scope.pair_input import HIDDEN
from memedit.scope.pronouns import may_mean_the_answer, with_name
from memedit.scope.subjects import Mention
from memedit.scope.wordings import Wording


@dataclass(frozen=True, slots=True)
class Asked:
    """What the model has to judge of one candidate: each prompt beside each wording."""

    prompts: tuple[str, ...]
    edits: tuple[Wording, ...]
    named: float
    text: str
    mention: Mention

    @property
    def pairs(self) -> list[tuple[str, Wording]]:
        """Every prompt beside every wording."""
        return [(prompt, edit) for prompt in self.prompts for edit in self.edits]

    @property
    def is_own(self) -> bool:
        """Whether the prompt is, word for word, the edit's own or one of its rephrases."""
        own = {_plain(wording[0]) for wording in self.edits}
        return self.mention.coverage == 1 and _plain(self.prompts[0]) in own

    @property
    def through(self) -> list[tuple[str, Wording]]:
        """Every description in a prompt that is not the edit's own beside every wording.

        None where a part of a name stands, since the rest of that would be more that is asked.
        """
        if self.mention.coverage < 1:
            return []
        own = {wording[0].casefold() for wording in self.edits}
        found = [
            one
            for prompt in self.prompts
            if prompt.casefold() not in own
            for one in descriptions(prompt)
        ]
        return [(one, edit) for one in found for edit in self.edits]

    def gives_way_to(self, other: Asked | None) -> bool:
        """See ``Mention.gives_way_to``."""
        return (
            other is not None
            and other.text == self.text
            and self.mention.gives_way_to(other.mention)
        )


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(" .?:!")


def of_the_last(
    turns: tuple[str, str], both: tuple[str, ...], text: str, mention: Mention
) -> tuple[str, ...]:
    """Return what the last turn asks of a subject that only the one before it names.

    With the subject put where it leaves one out; behind a question for a person also both turns
    (``both``), since "How old is he?" may lean on the answer to "Who is the mayor of Oslo?".
    """
    earlier, last = turns
    if mention.end > len(text) - len(last):
        return both
    asked = with_name(last, HIDDEN)
    if asked is None:
        return both
    return (asked, *both) if may_mean_the_answer(last, earlier) else (asked,)
