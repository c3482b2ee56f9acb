"""KnowEdit: its six files.

Source: Zhang et al. 2024, "A Comprehensive Study of Knowledge Editing for Large Language Models",
https://huggingface.co/datasets/zjunlp/KnowEdit
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from memedit.errors import DatasetError
from memedit.memory.formats.base import (
    EditFormat,
    Source,
    Unusable,
    as_object,
    first_text,
    request_of,
)
from memedit.memory.records import NewEdit
from memedit.registry import register
from memedit.types import EditRequest, Operation

_FACT = {"prompt", "subject", "target_new"}
_BIOGRAPHY = {"text", "labels", "concept"}
_SENTIMENT = {"ent", "pos", "neg"}


@register("knowedit")
class KnowEdit(EditFormat):
    """ZsRE, WikiData_counterfact, WikiData_recent, WikiBio, ConvSent and Sanitation.

    Facts are read as they stand; one without a ``ground_truth`` field (WikiData_recent) is an
    insertion.  WikiBio: the passage is the prompt, the true sentence the target and the statement.
    ConvSent: the topic gets the first of its positive replies, in place of the first negative one.
    Sanitation: what is to be forgotten (``K_F``) becomes an erasure; what is to be retained
    (``K_R``) is no edit and is counted as skipped.  Probes (locality, portability) are not read.
    """

    def recognises(self, source: Source) -> bool:
        """Look for the fields of one of the files."""
        if isinstance(source.document, dict):
            return "K_F" in source.document
        first = source.first().keys()
        return any(fields <= first for fields in (_FACT, _BIOGRAPHY, _SENTIMENT))

    def records(self, source: Source) -> Iterator[tuple[str, Any]]:
        """Go through the list, or through both lists of Sanitation."""
        document = source.document
        if not isinstance(document, dict):
            for number, record in enumerate(source.listed()):
                yield f"[{number}]", record
            return
        if not isinstance(document.get("K_F"), list):
            raise DatasetError("it is no list of records, and has no list K_F")
        for part in ("K_F", "K_R"):
            records = document.get(part, [])
            if not isinstance(records, list):
                raise DatasetError(f"{part} is no list")
            for number, record in enumerate(records):
                yield f"{part}[{number}]", (part, record)

    def read(self, record: Any, namespace: str) -> NewEdit:
        """Read one record of whichever file."""
        if isinstance(record, tuple):
            return NewEdit(_forgotten(*record), namespace)
        fields = as_object(record)
        if fields.keys() >= _BIOGRAPHY:
            return NewEdit(_biography(fields), namespace)
        if fields.keys() >= _SENTIMENT:
            return NewEdit(_sentiment(fields), namespace)
        return NewEdit(_fact(fields), namespace)


def _fact(fields: dict[str, Any]) -> EditRequest:
    rephrase = first_text(fields.get("rephrase_prompt"))
    return request_of(
        {
            "prompt": fields.get("prompt"),
            "subject": fields.get("subject"),
            "target_new": first_text(fields.get("target_new")),
            "ground_truth": first_text(fields.get("ground_truth")),
            "operation": Operation.MODIFY if "ground_truth" in fields else Operation.INSERT,
            "rephrases": None if rephrase is None else (rephrase,),
        }
    )


def _biography(fields: dict[str, Any]) -> EditRequest:
    return request_of(
        {
            "prompt": fields["text"],
            "subject": fields["concept"],
            "target_new": fields["labels"],
            "statement": fields["labels"],
        }
    )


def _sentiment(fields: dict[str, Any]) -> EditRequest:
    reply = first_text(fields["pos"])
    if reply is None:
        raise Unusable("pos: holds no reply")
    return request_of(
        {
            "prompt": f"What do you think of {str(fields['ent']).strip()}?",
            "subject": fields["ent"],
            "target_new": reply,
            "ground_truth": first_text(fields["neg"]),
        }
    )


def _forgotten(part: str, record: Any) -> EditRequest:
    fields = as_object(record)
    if part == "K_R":
        raise Unusable("a fact to retain, not an edit")
    return request_of(
        {
            "prompt": fields.get("question"),
            "subject": fields.get("subject"),
            "target_new": first_text(fields.get("target_new")),
            "ground_truth": first_text(fields.get("ground_truth")),
            "operation": Operation.ERASE,
        }
    )
