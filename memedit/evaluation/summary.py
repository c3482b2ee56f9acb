"""A data set in words: what is in it, and what is wrong with it."""

from __future__ import annotations

from collections import Counter

from memedit.evaluation.cases import Dataset, Metric

_EXAMPLES = 2
_RETENTION = (
    " (records that edit nothing: what has to stay while others are erased, asked with one of the "
    "erasures in force)"
)


def summary(dataset: Dataset) -> str:
    """Return records, cases, edits, probes by task, metric and kind, and faults by reason."""
    edits = sum(len(case.requests) for case in dataset.cases)
    lines = [
        f"{dataset.name}",
        f"  {dataset.records:,} records, {len(dataset.cases):,} cases, {edits:,} edits, "
        f"{dataset.probes.total():,} probes",
    ]
    answers = [len(probe.answers) for case in dataset.cases for probe in case.probes]
    if several := [n for n in answers if n > 1]:
        lines.append(
            f"  {len(several):,} probes accept several answers, {sum(several):,} texts in all: "
            "aliases, or replies that are as good"
        )
    for task, n in Counter(case.task for case in dataset.cases).items():
        lines.append(f"  {task}: {n:,} case{'s' * (n != 1)}")
        for (of, metric, kind), probes in dataset.probes.items():
            if of == task:
                says = _RETENTION if metric == Metric.RETENTION else ""
                lines.append(f"    {metric}{f' ({kind})' if kind else ''}: {probes:,}{says}")
    if dataset.left_out:
        lines.append(f"  not among them, because of the limit: {', '.join(dataset.left_out)}")
    for dropped, title in ((True, "not scored"), (False, "scored, but to be known")):
        faults = [fault for fault in dataset.faults if fault.dropped is dropped]
        if not faults:
            continue
        lines.append(f"  {title}: {len(faults):,}")
        for reason, n in Counter(fault.reason for fault in faults).most_common():
            places = [fault.where for fault in faults if fault.reason == reason][:_EXAMPLES]
            more = ", ..." if n > len(places) else ""
            lines.append(f"    {n:,} x {reason} ({', '.join(places)}{more})")
    lines += [f"  {said}" for said in dataset.unfit]
    return "\n".join(lines)
