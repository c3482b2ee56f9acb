"""The words of the report: what a measurement is called, what it says, how a number is written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType

from memedit.evaluation.rows import Row


@dataclass(frozen=True, slots=True)
class Measure:
    """How a metric is shown."""

    title: str
    says: str
    share: bool = True
    """Between 0 and 1."""
    higher_is_better: bool | None = True
    """None: neither; it is compared with the unedited model."""


MEASURES = MappingProxyType(
    {
        "edit_success": Measure("Edit success", "the edit's own prompt gets the new answer"),
        "generality": Measure("Generality", "so does the prompt in other words"),
        "portability": Measure("Portability", "what follows from the edit holds too"),
        "multihop": Measure("Multi-hop", "questions that lean on the edits through several hops"),
        "locality": Measure("Locality", "what does not follow from it is answered as before"),
        "retention": Measure("Retention", "what has to stay while other knowledge is erased"),
        "general_ability": Measure(
            "General ability",
            "far questions of other cases, scored by the data set's answers whether or not the "
            "unedited model gives them: to be read beside the score before",
        ),
        "fluency": Measure(
            "Fluency",
            "weighted entropy of bi- and trigrams (survey 3.5): low where text repeats itself; "
            "to be read beside that of the same texts before",
            share=False,
            higher_is_better=None,
        ),
        "seconds_per_edit": Measure(
            "Time per edit",
            "of computing or storing edits: without asking, and without statistics that are made "
            "once for a model",
            *(False, False),
        ),
        "tokens_added": Measure(
            "Tokens added per request", "by what a method writes into a prompt", False, False
        ),
        "added_bytes": Measure(
            "Memory added",
            "the most that computing or storing edits took beyond what the process held before "
            "(on a GPU: than PyTorch had allocated there): model, encoder and statistics are not "
            "in it, and neither is what asking takes",
            *(False, False),
        ),
        "sentiment": Measure("Sentiment", "replies of the sentiment that is wanted (eq. 12)"),
        "kl": Measure(
            "KL divergence",
            "how far replies to other topics moved (eq. 13)",
            share=False,
            higher_is_better=False,
        ),
    }
)
_OTHER_SCORES = MappingProxyType(
    {
        "before": "the unedited model's own score on the same",
        "kept": "answered as before the edit, right or wrong",
        "contains": "the looser score: the answer stands somewhere in what was said",
        "all_tokens": "the stricter score: every target token is the argmax",
        "cleaned": "without the prompts to which another edit in force gives, or may give, its own "
        "answer",
        "fired": "an edit was applied to the prompt",
        "right_edit": "the case's own edit was among those applied",
        "any": "cases in which at least one of the questions is answered, as MQuAKE counts",
        "log_probability": "of the whole target, natural logarithm",
        "z_sentiment": "the first factor of Sentiment: 0.5 where the wanted replies are as likely "
        "as the unwanted ones, towards 1 where they are likelier",
        "z_topic": "the second factor of Sentiment: 1 where the wanted replies are at least as "
        "likely as before the edit, less where the model has left the topic",
    }
)
_NAMES = MappingProxyType(
    {"z_sentiment": "wanted over unwanted replies", "z_topic": "still on the topic"}
)
"""Other scores whose own name tells a reader nothing."""
REPEAT = "To repeat it (name another --report folder: in its own nothing is left to measure)"
GLANCED = (
    "Plain means over tasks: every task weighs the same. Intervals are in the tables below. Costs "
    "are over all tasks."
)
INTERVALS = (
    "Intervals are 95%, over cases: Wilson's where every case scores 0 or 1 or all score alike, "
    "else by bootstrap, which is too narrow for few cases (below ten or so). There is none where "
    "it cannot be told: of one case (“1 case”), and of cases that are all alike in a number that "
    "is no score between 0 and 1 (“all alike”)."
)
NOTABLE = 20
"""So many rows that differ from an earlier run by more than chance are shown unfolded."""
FEW_CASES = 10
"""Of fewer cases a bootstrap interval is too narrow to tell a difference from chance."""
DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
COSTS = ("seconds_per_edit", "tokens_added", "added_bytes")
"""What an edit costs: shown apart from the scores."""
OF_THE_MACHINE = ("seconds_per_edit", "added_bytes")
"""Costs that another load of the same machine changes: no interval over cases tells of it."""
AGE = "edit_success_by_age"
"""Edit success by how many edits were made after the one that is asked: shown apart, too."""
HEADLINES = ("edit_success", "generality", "portability", "locality")
GLANCE = (*HEADLINES, "multihop", "retention", "sentiment", "general_ability")
"""What stands at the top, as far as the run has it."""

SCORINGS = MappingProxyType(
    {
        "generated": (
            "Generated",
            "What a user sees: the model answers greedily to its natural end, and the answer is "
            "compared with the expected one and its aliases.",
        ),
        "teacher_forced": (
            "Teacher-forced",
            "The target is fed token by token and each token counts that is the argmax "
            "(survey, equation 10). It is higher than what a user sees and only serves the "
            "comparison with published tables.",
        ),
    }
)

VERDICTS = MappingProxyType(
    {
        "meaningless": "nothing that means anything, or the same piece over and over",
        "missing": "only a part of the target",
        "irrelevant": "no word of the target",
        "partial": "some words of the target, others in the place of the rest",
        "old": "what the unedited model said: the edit did not take",
        "embedded": "the whole target, with more words around it",
    }
)
"""The classes of error: the survey's four (section 4.5), and two that it does not name."""


def measure(metric: str) -> Measure:
    """Return how a metric is shown; one that is not known here is shown by its own name.

    Another score of a known metric (`edit_success_contains`) is shown with that metric.
    """
    base, rest = _parted(metric)
    if base not in MEASURES:
        return Measure(metric.replace("_", " ").capitalize(), "", False, None)
    if not rest:
        return MEASURES[base]
    words = _named(rest)
    says = _OTHER_SCORES.get(rest, "")
    share = bool(says) and rest != "log_probability"
    if rest == "before":
        share = MEASURES[base].share
    # Whether an edit should fire depends on the probe: neither more nor less is better.
    better = True if says and rest not in ("fired", "before") else None
    return Measure(f"{MEASURES[base].title}, {words}", says, share, better)


def meanings(metrics: Iterable[str]) -> list[tuple[str, str]]:
    """Say what metrics mean, each name once; other scores of a metric by their own name."""
    found = {}
    for metric in sorted(set(metrics), key=metric_order):
        _, rest = _parted(metric)
        title = f"\u2026, {_named(rest)}" if rest else measure(metric).title
        if says := measure(metric).says:
            found[title] = says
    return sorted(found.items(), key=lambda named: named[0].startswith("\u2026"))


def is_other_score(metric: str) -> bool:
    """Tell whether it is another score of a metric, such as `edit_success_contains`."""
    return bool(_parted(metric)[1])


def _named(rest: str) -> str:
    return _NAMES.get(rest, rest.replace("_", " "))


def row_title(metric: str, kind: str, only: str = "") -> str:
    """Name a line: its metric, and its kind, or the only kind that it is over.

    >>> row_title("locality", "Other_Topic"), row_title("locality", "", "Other_Topic")
    ('Locality: Other Topic', 'Locality (Other Topic only)')
    """
    title = measure(metric).title
    if only:
        return f"{title} ({kind_said(only)} only)"
    return f"{title}: {kind_said(kind)}" if kind else title


def kind_said(kind: str) -> str:
    """Write a kind in words; of an age, how many edits were made later.

    >>> kind_said("00-09 edits later"), kind_said("0-0 edits later"), kind_said("01 edits later")
    ('0 to 9 later edits', 'no later edit', '1 later edit')
    """
    found = re.fullmatch(r"(\d+)(?:-(\d+))? edits later", kind)
    if not found:
        return kind.replace("_", " ")
    first, last = int(found[1]), int(found[2] or found[1])
    if first < last:
        return f"{first:,} to {last:,} later edits"
    return f"{first or 'no'} later edit{'s' * (first > 1)}"


def metric_order(metric: str) -> tuple[int, str]:
    """Sort the known metrics as they stand above, the others behind, by name."""
    base, _ = _parted(metric)
    names = list(MEASURES)
    return (names.index(base) if base in MEASURES else len(names), metric)


def _parted(metric: str) -> tuple[str, str]:
    """Split `edit_success_contains` into the metric and the name of its other score."""
    if metric in MEASURES:
        return metric, ""
    for base in MEASURES:
        if metric.startswith(base) and metric[len(base)] in ":./_":
            return base, metric[len(base) + 1 :]
    return metric, ""


def number(value: float | None, digits: int = 3) -> str:
    """Write a number; a dash where there is none."""
    if value is None or value != value:
        return DASH
    return f"{value:,.{digits}f}".replace("-", MINUS)


def bounds(row: Row) -> str:
    """Write the interval of a row, or why it has none; nothing for what is no mean over cases."""
    if row.low is None or row.high is None:
        if row.cases == 1:
            return "1 case"
        return "all alike" if row.cases else ""
    between = " to " if row.low < 0 else DASH
    return f"{written(row.metric, row.low)}{between}{written(row.metric, row.high)}"


def written(metric: str, value: float) -> str:
    """Write a value of a metric in the unit that fits it."""
    if metric == "seconds_per_edit":
        return duration(value)
    if metric == "added_bytes":
        return size(int(value))
    return number(value, 1 if metric == "tokens_added" else 3)


def signed(value: float, digits: int = 3) -> str:
    """Write a difference with its sign, with a real minus."""
    text = f"{value:+.{digits}f}"
    return "±" + text[1:] if float(text) == 0 else text.replace("-", MINUS)


def difference(metric: str, value: float) -> str:
    """Write how far a metric moved, with its sign, in the unit that fits it."""
    if metric not in ("seconds_per_edit", "added_bytes"):
        return signed(value, 1 if metric == "tokens_added" else 3)
    return f"{MINUS if value < 0 else '+'}{written(metric, abs(value))}"


def duration(seconds: float | None) -> str:
    """Write a time with two or three figures, in the unit that fits it."""
    if seconds is None:
        return DASH
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.1f} min"


def size(n_bytes: int | None) -> str:
    """Write a size in MB; a dash where it was not measured."""
    if n_bytes is None:
        return DASH
    return f"{n_bytes / 1e6:,.0f} MB" if n_bytes >= 1e7 else f"{n_bytes / 1e6:.1f} MB"


def clipped(text: str, limit: int = 300) -> str:
    """Shorten a text that would fill the page, and say by how much."""
    return text if len(text) <= limit else f"{text[:limit]}… (+{len(text) - limit} characters)"
