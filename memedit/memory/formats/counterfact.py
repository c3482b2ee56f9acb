"""CounterFact as ROME published it.

Source: Meng et al. 2022, "Locating and Editing Factual Associations in GPT"
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from memedit.memory.formats.base import (
    EditFormat,
    Source,
    as_object,
    filled,
    named_text,
    request_of,
)
from memedit.memory.records import NewEdit
from memedit.registry import register


@register("counterfact")
class CounterFact(EditFormat):
    """``requested_rewrite`` is one object with a prompt template.

    Its paraphrase prompts begin with unrelated sentences: they probe a model, and are not read.
    """

    def recognises(self, source: Source) -> bool:
        """Look for one requested rewrite."""
        return isinstance(source.first().get("requested_rewrite"), dict)

    def records(self, source: Source) -> Iterator[tuple[str, Any]]:
        """Go through the list."""
        for number, record in enumerate(source.listed()):
            yield f"[{number}]", record

    def read(self, record: Any, namespace: str) -> NewEdit:
        """Read the rewrite of one record."""
        rewrite = as_object(as_object(record).get("requested_rewrite"))
        request = request_of(
            {
                "prompt": filled(rewrite.get("prompt"), rewrite.get("subject")),
                "subject": rewrite.get("subject"),
                "target_new": named_text(rewrite.get("target_new")),
                "ground_truth": named_text(rewrite.get("target_true")),
            }
        )
        return NewEdit(request, namespace)
