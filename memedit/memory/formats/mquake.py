"""MQuAKE: the edits behind its multi-hop questions.

Source: Zhong et al. 2023, "MQuAKE: Assessing Knowledge Editing in Language Models via Multi-Hop
Questions"
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from memedit.memory.formats.base import (
    EditFormat,
    Source,
    Unusable,
    as_object,
    filled,
    first_text,
    named_text,
    request_of,
)
from memedit.memory.records import NewEdit
from memedit.registry import register


@register("mquake")
class Mquake(EditFormat):
    """``requested_rewrite`` is a list of rewrites; each of them is a record here.

    The cases share rewrites: one that has been read already is named as a repetition.  The
    ``question`` of a rewrite becomes its rephrase; the multi-hop questions are probes.
    """

    def recognises(self, source: Source) -> bool:
        """Look for a list of requested rewrites."""
        return isinstance(source.first().get("requested_rewrite"), list)

    def records(self, source: Source) -> Iterator[tuple[str, Any]]:
        """Go through the rewrites of all cases; a case without any is a record itself."""
        for number, case in enumerate(source.listed()):
            rewrites = case.get("requested_rewrite") if isinstance(case, dict) else None
            if not isinstance(rewrites, list) or not rewrites:
                yield f"[{number}]", None
                continue
            for place, rewrite in enumerate(rewrites):
                yield f"[{number}].requested_rewrite[{place}]", rewrite

    def read(self, record: Any, namespace: str) -> NewEdit:
        """Read one rewrite."""
        if record is None:
            raise Unusable("no list of requested rewrites")
        rewrite = as_object(record)
        question = first_text(rewrite.get("question"))
        request = request_of(
            {
                "prompt": filled(rewrite.get("prompt"), rewrite.get("subject")),
                "subject": rewrite.get("subject"),
                "target_new": named_text(rewrite.get("target_new")),
                "ground_truth": named_text(rewrite.get("target_true")),
                "rephrases": None if question is None else (question,),
            }
        )
        return NewEdit(request, namespace)
