"""Known faults of labels: found and named, and scored all the same.

Nothing here decides what is scored: a report that leaves out what looks wrong would be fitted to
the benchmark. The rules compare wording, so they find most such labels and not all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from memedit.evaluation.cases import EditCase, Fault, Metric, Probe
from memedit.evaluation.matching import normalised, words

SAME_RELATION = "asks the very relation that the edit changes"
OLD_ANSWER = "its answer is the edit's old answer: it may ask the edited relation in other words"
EDITED_TWICE = "the same prompt is edited to another target elsewhere in the file"

_FRAMING = (
    "a an and are at belong belongs by did do does for from had has have he her his how in is it "
    "its known name named of on or she that the their there they this to was were what when where "
    "which who whom whose with"
)
_FRAME = frozenset(_FRAMING.split())


def label_faults(cases: Sequence[EditCase]) -> Iterator[Fault]:
    """Find the known faults in the cases of one file."""
    yield from edited_twice(cases)
    for case in cases:
        counts: dict[tuple[str, str], int] = {}
        for probe in case.probes:
            group = (probe.metric.value, probe.kind)
            number = counts[group] = counts.get(group, -1) + 1
            where = f"{case.id}.{probe.metric.value}.{probe.kind}[{number}]"
            if asks_edited_relation(case, probe):
                yield Fault(where, SAME_RELATION, dropped=False)
            elif expects_old_answer(case, probe):
                yield Fault(where, OLD_ANSWER, dropped=False)


def edited_twice(cases: Sequence[EditCase]) -> Iterator[Fault]:
    """Find edits of one subject and prompt to different targets, in one case or across cases.

    Every one of them is named: with all edits in memory, at most one can hold.
    """
    targets: dict[tuple[str, str], set[str]] = {}
    keyed = [
        (case, number, (normalised(request.subject), normalised(request.prompt)), request)
        for case in cases
        for number, request in enumerate(case.requests)
    ]
    for _, _, key, request in keyed:
        targets.setdefault(key, set()).add(normalised(request.target_new))
    for case, number, key, _ in keyed:
        if len(targets[key]) > 1:
            place = f".requests[{number}]" if len(case.requests) > 1 else ""
            yield Fault(case.id + place, EDITED_TWICE, dropped=False)


def asks_edited_relation(case: EditCase, probe: Probe) -> bool:
    """Tell whether a Relation_Specificity probe asks what the edit changes.

    It does where, with the subject and the words that only frame a question taken out,

    - nothing is left in which it differs from the edit's prompt, or
    - its answer is the edit's old (or new) answer and one of the two prompts says no more than the
      other: "place of birth" and "place of birth city".
    """
    if not _on_other_relation(probe):
        return False
    answers = set(map(normalised, probe.answers))
    for request in case.requests:
        edit, asked = (_relation(text, request.subject) for text in (request.prompt, probe.prompt))
        if normalised(request.prompt) == normalised(probe.prompt) or (edit and edit == asked):
            return True
        old = {normalised(text) for text in (request.ground_truth, request.target_new) if text}
        if answers & old and edit and asked and (edit <= asked or asked <= edit):
            return True
    return False


def expects_old_answer(case: EditCase, probe: Probe) -> bool:
    """Tell whether a Relation_Specificity probe expects what the edit has replaced.

    "Who fathered X?" and "X father" have no word in common; nor have director and producer, who can
    be one person. So this is a suspicion, and is named as one.
    """
    old = {normalised(request.ground_truth) for request in case.requests if request.ground_truth}
    return _on_other_relation(probe) and bool(old & set(map(normalised, probe.answers)))


def _on_other_relation(probe: Probe) -> bool:
    return probe.metric is Metric.LOCALITY and probe.kind == "Relation_Specificity"


def _relation(prompt: str, subject: str) -> frozenset[str]:
    """Return the words of a prompt that say which relation it asks after."""
    asked, known = ({word.removesuffix("'s") for word in words(text)} for text in (prompt, subject))
    return frozenset(asked - known - _FRAME)
