"""zsRE in the form that MEND made of it.

Source: Levy et al. 2017; Mitchell et al. 2022, "Fast Model Editing at Scale"
"""

from __future__ import annotations

from pathlib import Path

from memedit.evaluation.cases import Metric
from memedit.evaluation.formats.base import (
    CaseFormat,
    Reading,
    Unusable,
    alternatives,
    as_list,
    as_object,
    first,
    read_json,
    records,
    request_of,
)
from memedit.registry import register

_LABEL = "nq question: "


@register("zsre")
class Zsre(CaseFormat):
    """`src` and `rephrase` are to be answered with `alt`.

    Locality asks `loc`, a question of Natural Questions that has nothing to do with the edit; the
    label in front of it is left out.
    """

    def read(self, path: Path, reading: Reading) -> None:
        """Read all questions."""
        for draft, record in records(read_json(path), reading):
            try:
                fields = as_object(record)
                targets = alternatives(fields.get("alt"))
                request = request_of(
                    prompt=fields.get("src"),
                    subject=fields.get("subject"),
                    target_new=first(targets),
                    ground_truth=first(alternatives(fields.get("answers"))),
                )
            except Unusable as why:
                draft.fault("", str(why))
                continue
            draft.ask(Metric.EDIT_SUCCESS, "", ".src", request.prompt, targets)
            for rephrase in as_list(fields.get("rephrase")):
                draft.ask(Metric.GENERALITY, "", ".rephrase", rephrase, targets)
            if "loc" in fields:
                asked = fields["loc"]
                if isinstance(asked, str):
                    asked = asked.removeprefix(_LABEL)
                answers = alternatives(fields.get("loc_ans"))
                draft.ask(Metric.LOCALITY, "Natural_Questions", ".loc", asked, answers)
            reading.cases.append(draft.case(reading.task, (request,)))
