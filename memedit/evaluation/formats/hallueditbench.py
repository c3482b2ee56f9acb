"""HalluEditBench: facts that models hallucinate, by topic.

Source: Huang et al. 2025, "Can Knowledge Editing Really Correct Hallucinations?"
"""

from __future__ import annotations

import csv
from pathlib import Path

from memedit.errors import DatasetError
from memedit.evaluation.cases import EditCase, Metric
from memedit.evaluation.formats.base import (
    CaseFormat,
    Draft,
    Reading,
    Unusable,
    alternatives,
    first,
    request_of,
)
from memedit.registry import register

_NEEDED = ("subject", "relation", "object", "question")
_HOPS = range(2, 7)


@register("hallueditbench")
class HalluEditBench(CaseFormat):
    """CSV, one topic a file: the question is to be answered with `object`.

    The `output_` column, what a model hallucinated, is the old answer. Generality: the paraphrase,
    the two yes-or-no forms, and the choice with letters. Portability: the reversed relation.
    Questions of two hops and more are multi-hop. The locality question comes without an answer.
    """

    def read(self, path: Path, reading: Reading) -> None:
        """Read all rows."""
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                table = csv.DictReader(file)
                missing = [name for name in _NEEDED if name not in (table.fieldnames or ())]
                if missing:
                    raise DatasetError(f"it has no column {', '.join(missing)}")
                rows = list(table)
        except OSError as error:
            raise DatasetError(f"cannot read {path}: {error.strerror or error}") from error
        except (UnicodeDecodeError, csv.Error) as error:
            raise DatasetError(f"{path} is not a CSV file in UTF-8: {error}") from error
        for number, row in enumerate(rows):
            reading.records += 1
            draft = Draft(f"{reading.name}[{number}]", reading.faults)
            try:
                reading.cases.append(_case(draft, row, reading.task))
            except Unusable as why:
                draft.fault("", str(why))


def _case(draft: Draft, row: dict[str, str], task: str) -> EditCase:
    said = next((value for name, value in row.items() if str(name).startswith("output_")), None)
    targets = alternatives(row["object"])
    request = request_of(
        prompt=row["question"],
        subject=row["subject"],
        target_new=first(targets),
        ground_truth=first(alternatives(said)),
    )
    draft.ask(Metric.EDIT_SUCCESS, "", ".question", request.prompt, targets)
    lettered = row.get("multiple_choice_with_letters")
    choice = f"{request.prompt} {lettered}" if lettered else None
    probes: list[tuple[str, Metric, str, str | None, tuple[str, ...]]] = [
        ("paraphrased_question", Metric.GENERALITY, "paraphrase", None, targets),
        ("yes_question", Metric.GENERALITY, "yes", None, ("Yes",)),
        ("no_question", Metric.GENERALITY, "no", None, ("No",)),
        (
            "multiple_choice_with_letters",
            Metric.GENERALITY,
            "multiple choice",
            choice,
            alternatives(row.get("multiple_choice_labels")),
        ),
        ("locality_question", Metric.LOCALITY, "", None, ()),
        (
            "reversed_relation_question",
            Metric.PORTABILITY,
            "reversed relation",
            None,
            alternatives(row["subject"]),
        ),
        *(
            (
                f"question_{hops}hop",
                Metric.MULTIHOP,
                f"{hops} hops",
                None,
                alternatives(row.get(f"answer_{hops}hop")),
            )
            for hops in _HOPS
        ),
    ]
    for name, metric, kind, prompt, answers in probes:
        if name in row:
            draft.ask(metric, kind, f".{name}", prompt or row[name], answers)
    return draft.case(task, (request,), relation=row["relation"])
