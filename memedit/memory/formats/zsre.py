"""zsRE in the form that MEND made of it.

Source: Levy et al. 2017; Mitchell et al. 2022, "Fast Model Editing at Scale"
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from memedit.memory.formats.base import EditFormat, Source, as_object, first_text, request_of
from memedit.memory.records import NewEdit
from memedit.registry import register


@register("zsre")
class Zsre(EditFormat):
    """``src`` is answered with ``alt``; ``rephrase`` comes along, ``answers`` is the old answer."""

    def recognises(self, source: Source) -> bool:
        """Look for ``src`` and ``alt``."""
        return {"src", "alt"} <= source.first().keys()

    def records(self, source: Source) -> Iterator[tuple[str, Any]]:
        """Go through the list."""
        for number, record in enumerate(source.listed()):
            yield f"[{number}]", record

    def read(self, record: Any, namespace: str) -> NewEdit:
        """Read one question."""
        fields = as_object(record)
        rephrase = first_text(fields.get("rephrase"))
        request = request_of(
            {
                "prompt": fields.get("src"),
                "subject": fields.get("subject"),
                "target_new": first_text(fields.get("alt")),
                "ground_truth": first_text(fields.get("answers")),
                "rephrases": None if rephrase is None else (rephrase,),
            }
        )
        return NewEdit(request, namespace)
