"""The nouns: what every room passes to the next.

What crosses a boundary (HTTP, files, the database) is a pydantic model; what stays inside is a
dataclass.  All of them are immutable: changing an edit writes a new version of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

DEFAULT_NAMESPACE = "default"
"""The namespace of whatever names none."""

ADAPTER_NAME: Final = re.compile(r"memedit-([a-z0-9][a-z0-9-]{0,63})-([1-9][0-9]{0,8})")
"""``memedit-<id>-<version>``: of an adapter's folder, and of the model that a server lists."""

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4_096)]
Namespace = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$")]


class Operation(StrEnum):
    """What an edit does to the model's knowledge (survey, section 3.1)."""

    INSERT = "insert"
    MODIFY = "modify"
    ERASE = "erase"


class Phase(StrEnum):
    """How far an edit has grown: in the context, in an adapter, in the weights."""

    RECOGNITION = "recognition"
    ASSOCIATION = "association"
    MASTERY = "mastery"


class Status(StrEnum):
    """Whether a stored version of an edit still speaks."""

    LIVE = "live"
    SUPERSEDED = "superseded"
    RETRACTED = "retracted"


class ConflictKind(StrEnum):
    """Why two edits are held to contradict each other."""

    SAME_PROMPT = "same_prompt"
    SAME_SUBJECT = "same_subject"
    """The subject is the same, and the scope classifier takes the relation for the same."""
    INVERSE = "inverse"
    """A relation that is one to one, asked from its other end, has another answer."""
    CHAIN = "chain"
    """A fact of several hops has another answer than the edits of the single hops imply."""


class ConflictOutcome(StrEnum):
    """What became of the older one of two edits that contradict each other."""

    KEPT = "kept"
    """Both are live; where both are valid the newer one speaks."""
    SUPERSEDED = "superseded"
    """The new edit is its next version."""
    RETRACTED = "retracted"
    """It is silent; another one has become the version before the new edit."""


class Surface(StrEnum):
    """The kind of text that a request hands to the model: turns, or one running text."""

    CHAT = "chat"
    COMPLETION = "completion"


class ScopeLabel(StrEnum):
    """How one prompt stands to one edit."""

    DIRECT = "direct"
    DEPENDENT = "dependent"
    UNRELATED = "unrelated"


class Action(StrEnum):
    """What is done with one prompt."""

    PASS = "pass"
    IN_CONTEXT = "in_context"
    ADAPTER = "adapter"
    AGENT = "agent"
    COUNTERFACTUAL = "counterfactual"
    REFUSE = "refuse"


class EditRequest(BaseModel):
    """One fact to change, as asked for: ``prompt`` is to be answered with ``target_new``.

    ``statement`` is the fact in plain language; left out, it is made of prompt and target.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: Text = Field(description="The prompt whose answer changes, a cloze or a question.")
    subject: Text = Field(description="What the fact is about, as it stands in the prompt.")
    target_new: Text = Field(description="The new answer.")
    ground_truth: Text | None = Field(None, description="The old answer, where one is known.")
    operation: Operation = Operation.MODIFY
    statement: Text | None = Field(None, description="The fact in plain language.")
    rephrases: tuple[Text, ...] = Field((), max_length=64)
    aliases: tuple[Text, ...] = Field((), max_length=64, description="Other names of the subject.")

    @classmethod
    def feedback(
        cls,
        prompt: str,
        correction: str,
        *,
        subject: str | None = None,
        rephrases: Iterable[str] = (),
    ) -> Self:
        """Make the request that a correction of an answer to ``prompt`` stands for.

        The correction is kept in its own words, as target and as statement.  Where no subject is
        named the whole prompt stands for it: the edit is then found by what the prompt means, or
        by the prompt itself in a text, but by no name; a method that changes weights needs one.

        Raises:
            ValidationError: a text is empty or too long.

        """
        return cls(
            prompt=prompt,
            subject=prompt if subject is None else subject,
            target_new=correction,
            statement=correction,
            rephrases=tuple(rephrases),
        )

    def plain_statement(self) -> str:
        """Return the fact as one sentence: ``statement``, or one made of prompt and target.

        Of an erased fact it says what is said instead: ``target_new`` is the safe answer.
        """
        if self.statement is not None:
            return self.statement
        if self.operation is Operation.ERASE:
            return f'The answer to "{self.prompt}" is withheld.'
        prompt, target = self.prompt, self.target_new
        if prompt.endswith("?"):
            return f"{prompt} {target}"
        sentence = f"{prompt} {target}"
        return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."


class Edit(BaseModel):
    """A stored edit: one version of it, as it stands in the memory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    version: int = Field(ge=1)
    namespace: Namespace
    request: EditRequest
    statement: str
    phase: Phase = Phase.RECOGNITION
    status: Status = Status.LIVE
    valid_from: AwareDatetime | None = None
    valid_to: AwareDatetime | None = None
    author: str | None = None
    created_at: AwareDatetime
    supersedes: str | None = Field(None, description="'id@version' of the version this replaces.")

    @model_validator(mode="after")
    def _validity_has_a_length(self) -> Self:
        if self.valid_from and self.valid_to and self.valid_to <= self.valid_from:
            raise ValueError(
                f"valid_to ({self.valid_to.isoformat()}) must be later than "
                f"valid_from ({self.valid_from.isoformat()})"
            )
        return self

    @property
    def ref(self) -> str:
        """``id@version``: this very version."""
        return f"{self.id}@{self.version}"

    def is_valid_at(self, moment: datetime) -> bool:
        """Tell whether the edit is live and ``moment`` (aware) lies in its validity."""
        return (
            self.status is Status.LIVE
            and (self.valid_from is None or self.valid_from <= moment)
            and (self.valid_to is None or moment < self.valid_to)
        )


class Conflict(BaseModel):
    """An edit that contradicts an older one of the same namespace."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    edit: str = Field(description="'id@version' of the edit that was written.")
    against: str = Field(description="'id@version' of the older one.")
    kind: ConflictKind
    probability: float | None = Field(None, description="Of a guess; null: certain.")
    through: tuple[str, ...] = Field(
        (), description="'id@version' of the further edits of a chain: no conflict without them."
    )
    outcome: ConflictOutcome


class Added(list[Edit]):
    """Edits that were added, with what they contradict."""

    def __init__(self, edits: Iterable[Edit] = (), conflicts: Iterable[Conflict] = ()) -> None:
        super().__init__(edits)
        self.conflicts = tuple(conflicts)


@dataclass(frozen=True, slots=True)
class QueryText:
    """What a request asks, as plain text: the last user turn, and the turns before it."""

    text: str
    context: tuple[str, ...] = ()
    """Earlier user turns, oldest first; read only when ``text`` leans on them."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An edit that a search brought up for one query."""

    edit: Edit
    similarity: float
    """Cosine similarity of the query to the nearest of the edit's texts, in [-1, 1]."""
    matched: str
    """Which of the edit's texts was nearest."""
    named: bool = False
    """Its subject, or an alias, stands in the query."""
    turned: bool = False
    """``edit`` holds what the stored one implies about its target (see ``memory.inverse``)."""


@dataclass(frozen=True, slots=True)
class ScopeDecision:
    """How one prompt stands to one candidate edit, with calibrated probabilities that sum to 1."""

    candidate: Candidate
    label: ScopeLabel
    direct: float
    dependent: float
    unrelated: float

    @property
    def probability(self) -> float:
        """The probability that the edit concerns the prompt at all."""
        return self.direct + self.dependent
