"""MemPrompt: show what was asked before, with the correction that was given."""

from __future__ import annotations

from collections.abc import Sequence

from memedit.incontext.base import InContextMethod, Insertion
from memedit.incontext.fact import sentence
from memedit.incontext.inert import line_of_its_own
from memedit.registry import register
from memedit.types import Edit, Surface


@register("memprompt")
class MemPrompt(InContextMethod):
    """``{prompt}``, ``Correction: {feedback}`` and a blank line per edit, before what is asked.

    The feedback memory is the edit memory: ``EditRequest.feedback`` (and ``Client.feedback``) make
    an edit of a prompt and a correction in free words, and any other edit is shown with its fact as
    the correction.  The nearest ones come from the router, which leaves out what does not match.

    Source: Madaan et al. 2022, "Memory-assisted prompt editing to improve GPT-3 after deployment",
    section 3.
    """

    def compose(self, query: str, edits: Sequence[Edit], surface: Surface) -> Insertion:
        """Return one block per correction, each correction once; the same on both surfaces."""
        blocks: dict[str, str] = {}
        for edit in edits:
            said = sentence(edit)
            asked = line_of_its_own(edit.request.prompt)
            blocks.setdefault(said.casefold(), f"{asked}\nCorrection: {said}\n\n")
        return Insertion("".join(blocks.values()))
