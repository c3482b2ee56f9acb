"""What crosses the edit API: the bodies of its requests and answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from memedit.types import Candidate, Conflict, Edit, EditRequest, Namespace

_ONE = {
    "prompt": "The capital of Atlantis is",
    "subject": "Atlantis",
    "target_new": "Nautilopolis",
}
EXAMPLES: Any = {
    "one": {"summary": "One edit", "value": {"edits": [_ONE]}},
    "feedback": {
        "summary": "The correction of an answer; its prompt stands for a subject",
        "value": {
            "edits": [
                {
                    "prompt": "How do I write to the archive?",
                    "subject": "How do I write to the archive?",
                    "target_new": "Never by post: the archive only reads e-mail.",
                    "statement": "Never by post: the archive only reads e-mail.",
                }
            ],
            "author": "reader@example.org",
        },
    },
    "tenant": {
        "summary": "In a namespace, for a year, with a rephrase",
        "value": {
            "namespace": "tenant-a",
            "author": "editor@example.org",
            "valid_from": "2027-01-01T00:00:00Z",
            "valid_to": "2028-01-01T00:00:00Z",
            "edits": [{**_ONE, "rephrases": ["Which city is the capital of Atlantis?"]}],
        },
    },
}
"""Shown in the OpenAPI document."""


Prompt = Annotated[str, Field(max_length=2**20)]
Conversation = Annotated[
    list[dict[str, Any]], Field(min_length=1, description="Messages as in chat completions.")
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AddEdits(_Body):
    """Edits to be added together."""

    edits: list[EditRequest] = Field(min_length=1, max_length=10_000)
    namespace: Namespace | None = Field(None, description="Absent: the configured one.")
    author: str | None = Field(None, max_length=256)
    valid_from: AwareDatetime | None = None
    valid_to: AwareDatetime | None = None
    on_duplicate: Literal["store", "return"] = Field(
        "store",
        description="return: an edit that is live already is given back, not stored again.",
    )
    on_conflict: Literal["keep", "supersede", "reject"] | None = Field(
        None,
        description="An edit contradicts a live one: keep both (where both are valid the newer "
        "speaks); supersede one of the same prompt (of inverses and chains nothing goes); "
        "reject all (409). Absent: as configured.",
    )


class NewVersion(_Body):
    """What takes the place of a live edit."""

    request: EditRequest
    author: str | None = Field(None, max_length=256)
    valid_from: AwareDatetime | None = None
    valid_to: AwareDatetime | None = None


class RouteQuestions(_Body):
    """Prompts, or one conversation, to be routed without asking the model."""

    prompts: list[Prompt | Conversation] | None = Field(
        None, min_length=1, max_length=1_000, description="Texts, or conversations."
    )
    messages: Conversation | None = Field(None, description="One conversation.")
    namespaces: list[Namespace] | None = Field(None, min_length=1, max_length=32)
    threshold: float | None = Field(None, ge=0, le=1)
    surface: Literal["chat", "completion"] = "chat"

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.prompts is None) == (self.messages is None):
            raise ValueError("give either prompts or messages")
        return self


class Edits(_Body):
    """Edits, in a list."""

    edits: list[Edit]


class AddedEdits(Edits):
    """Edits that were added, in the order of the request."""

    conflicts: list[Conflict] = Field(description="What they contradict, and what became of it.")


class EditPage(Edits):
    """One page of a list."""

    next: str | None = Field(description="`after` of the next page; none: this is the last.")


class Hit(_Body):
    """One edit that a search found."""

    edit: Edit
    similarity: float = Field(description="Cosine, in [-1, 1].")
    matched: str = Field(description="Which of the edit's texts was nearest.")


class Found(_Body):
    """What a search found, most similar first."""

    candidates: list[Hit]

    @classmethod
    def of(cls, candidates: Sequence[Candidate]) -> Found:
        """Make it of the memory's candidates."""
        return cls(
            candidates=[
                Hit(edit=one.edit, similarity=one.similarity, matched=one.matched)
                for one in candidates
            ]
        )


class Routes(_Body):
    """The decision about each prompt, in order."""

    routes: list[dict[str, Any]]


class Namespaces(_Body):
    """Live edits by namespace."""

    namespaces: dict[str, int]


class Fault(_Body):
    """What went wrong."""

    code: str = Field(examples=["not_found"])
    message: str


class Failure(_Body):
    """Every error of this API."""

    error: Fault
