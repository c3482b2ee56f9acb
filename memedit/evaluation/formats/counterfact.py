"""CounterFact as ROME published it.

Source: Meng et al. 2022, "Locating and Editing Factual Associations in GPT"
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from memedit.evaluation.cases import EditCase, Metric
from memedit.evaluation.formats.base import (
    CaseFormat,
    Draft,
    Reading,
    Unusable,
    alternatives,
    as_list,
    as_object,
    filled,
    first,
    named_text,
    read_json,
    records,
    request_of,
)
from memedit.registry import register


@register("counterfact")
class CounterFact(CaseFormat):
    """`requested_rewrite` is one object with a prompt template.

    Paraphrases are generality. Neighbours (subjects of which the old answer is true) and attribute
    prompts (subjects of which the new one is true already) are locality. `generation_prompts` are
    open-ended, have no answer, and are named as not read.
    """

    def read(self, path: Path, reading: Reading) -> None:
        """Read all rewrites."""
        for draft, record in records(read_json(path), reading):
            try:
                reading.cases.append(_case(draft, as_object(record), reading.task))
            except Unusable as why:
                draft.fault("", str(why))


def _case(draft: Draft, fields: dict[str, Any], task: str) -> EditCase:
    rewrite = as_object(fields.get("requested_rewrite"), "requested_rewrite")
    new = alternatives(named_text(rewrite.get("target_new")))
    old = alternatives(named_text(rewrite.get("target_true")))
    request = request_of(
        prompt=filled(rewrite.get("prompt"), rewrite.get("subject")),
        subject=rewrite.get("subject"),
        target_new=first(new),
        ground_truth=first(old),
    )
    draft.ask(Metric.EDIT_SUCCESS, "", ".requested_rewrite", request.prompt, new)
    for name, metric, kind, answers in (
        ("paraphrase_prompts", Metric.GENERALITY, "", new),
        ("neighborhood_prompts", Metric.LOCALITY, "Neighborhood", old),
        ("attribute_prompts", Metric.LOCALITY, "Attribute", new),
    ):
        for number, prompt in enumerate(as_list(fields.get(name))):
            draft.ask(metric, kind, f".{name}[{number}]", prompt, answers)
    if fields.get("generation_prompts"):
        draft.fault(".generation_prompts", "open-ended prompts without an answer: not read")
    return draft.case(task, (request,), relation=str(rewrite.get("relation_id") or ""))
