"""Which prompts cannot tell how good a method is, since other edits in force speak to them.

A fifth of KnowEdit's Relation_Specificity probes ask the very relation that the edit changes, and
with all edits of a file in memory many a probe of one case asks what another case's edit changes:
that their answer changes is no fault. And where two edits in force give one fact two answers, at
most one of them can be right.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from memedit.evaluation.cases import Probe
from memedit.evaluation.matching import exact, words
from memedit.indexes.names import NameIndex, names_of
from memedit.types import EditRequest

_FRAMING = (
    "a an and are as at be been by did do does for from had has have he her his how in is it its "
    "name names of on or she that the their they this to was were what when where which who whom "
    "whose with"
)
_FRAME = frozenset(_FRAMING.split())
_ENDING = re.compile(r"(?:'s|ies|es|s|y)$")


class LiveEdits:
    """The edits that are in force while prompts are asked."""

    def __init__(self, edits: Iterable[EditRequest]) -> None:
        self._edits = list(edits)
        self._about: dict[str, list[int]] = defaultdict(list)
        self._named = NameIndex()
        for number, edit in enumerate(self._edits):
            self._about[edit.subject.casefold()].append(number)
            self._named.add(number, names_of(edit.subject, edit.aliases))

    def asked_by(self, probe: Probe, own: Sequence[EditRequest]) -> bool:
        """Tell whether a probe of a case may ask what any live edit changes.

        Args:
            probe: of a case.
            own: the case's own edits, whose subjects the probe may mean where it has a word of
                their names; other edits' subjects have to be named whole.

        """
        told = set(words(probe.prompt)) - _FRAME
        rivals = {
            rival
            for one in own
            if told & set(words(one.subject))
            for rival in self._about[one.subject.casefold()]
        }
        rivals.update(self._named.find(probe.prompt, len(self._edits)))
        return any(asks_an_edit(probe, self._edits[rival]) for rival in rivals)

    def contradict(self, probe: Probe, own: Sequence[EditRequest]) -> bool:
        """Tell whether another edit in force wants another answer to a probe about a case's edits.

        It does where it is about the same fact as one of them (the subject's name and the prompt
        or the answer before are the same) and has another target; or where it is about an edit's
        target, one hop further, and replaces the answer that the probe expects there. Edits that
        tell the same of a fact in other words, or of its inverse, are not found.

        Args:
            probe: of a case, on what follows from its edits.
            own: the case's edits.

        """
        for one in own:
            for rival in self._of(one.subject, own):
                old = rival.ground_truth or ""
                same = rival.prompt == one.prompt or exact(old, [one.ground_truth or ""])
                if same and not exact(rival.target_new, [one.target_new]):
                    return True
            for rival in self._of(one.target_new, own):
                moved = exact(rival.ground_truth or "", probe.answers)
                if moved and not exact(rival.target_new, probe.answers):
                    return True
        return False

    def _of(self, subject: str, own: Sequence[EditRequest]) -> Iterator[EditRequest]:
        for number in self._about.get(subject.casefold(), ()):
            if self._edits[number] not in own:
                yield self._edits[number]


def asks_an_edit(probe: Probe, edit: EditRequest) -> bool:
    """Tell whether a locality probe that names an edit's subject may ask what the edit changes.

    It may where the answers share a word, or the prompts, without subject and framing, a stem.
    Broad on purpose: what it lets through is unrelated.
    """
    old = set(words(edit.ground_truth or "")) | set(words(edit.target_new))
    if old & {word for answer in probe.answers for word in words(answer)} - _FRAME:
        return True
    return bool(_stems(probe.prompt, edit.subject) & _stems(edit.prompt, edit.subject))


def _stems(text: str, subject: str) -> set[str]:
    told = set(words(text)) - set(words(subject)) - _FRAME
    return {_ENDING.sub("", word) for word in told} - {""}
