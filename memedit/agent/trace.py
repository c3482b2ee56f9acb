"""What an agent did with one question: every hop, and why it ended."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from memedit.routing.contradicting import LeftOut
from memedit.types import ScopeDecision, ScopeLabel


class Ended(StrEnum):
    """Why an agent stopped."""

    FINAL_ANSWER = "final_answer"
    WITHHELD = "withheld"
    """A hop asked for an erased fact; the answer is what that edit says instead."""
    UNKNOWN_HOP = "unknown_hop"
    """The model said that it does not know a hop's answer; the next hops would be made up."""
    HOP_LIMIT = "hop_limit"
    NO_NEXT_STEP = "no_next_step"
    """The model wrote neither a subquestion nor a final answer."""
    REPEATED = "repeated_subquestion"
    CUT_OFF = "cut_off"
    """The model reached the limit of tokens in the midst of a line that was needed."""
    ENDPOINT_FAILED = "endpoint_failed"
    MEMORY_FAILED = "memory_failed"


class Source(StrEnum):
    """Where the answer of a hop comes from."""

    EDIT = "edit"
    """Read off the edit, without asking the model."""
    MODEL_WITH_EDIT = "model_with_edit"
    """The model concluded it with the edit before its eyes."""
    MODEL = "model"


@dataclass(frozen=True, slots=True)
class Hop:
    """One subquestion and what became of it."""

    subquestion: str
    candidates: tuple[ScopeDecision, ...] = ()
    """All edits that were judged, most probable first."""
    left_out: tuple[LeftOut, ...] = ()
    """Those that another edit contradicts, and speaks in the place of."""
    edit: str | None = None
    """``id@version`` of the edit that was shown, or read off."""
    fact: str | None = None
    """That edit as the sentence that stands in the transcript."""
    scope: ScopeLabel = ScopeLabel.UNRELATED
    """What the scope classifier says of that edit, or of the most probable one if none was used."""
    generated: str | None = None
    """What the model answered by itself; ``None`` where it was not asked."""
    conflict: bool | None = None
    """Whether the fact contradicts the model's own answer; ``None`` where nobody said so."""
    answer: str | None = None
    source: Source | None = None
    note: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the hop as JSON-ready values."""
        return {
            "subquestion": self.subquestion,
            "candidates": [
                {
                    "edit": one.candidate.edit.ref,
                    "statement": one.candidate.edit.statement,
                    "similarity": round(one.candidate.similarity, 6),
                    "scope": one.label.value,
                    "probability": round(one.probability, 6),
                }
                for one in self.candidates
            ],
            "left_out": [
                {"edit": one.edit, "by": one.by, "why": one.why.value} for one in self.left_out
            ],
            "edit": self.edit,
            "fact": self.fact,
            "scope": self.scope.value,
            "generated": self.generated,
            "conflict": self.conflict,
            "answer": self.answer,
            "source": None if self.source is None else self.source.value,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class Usage:
    """What the completions of one question cost, in calls and tokens, as far as the server says."""

    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Those prompt tokens that the server's prefix cache held."""
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True, slots=True)
class Trace:
    """A question, its hops and its answer; without an answer it says why there is none."""

    question: str
    method: str
    ended: Ended
    answer: str | None = None
    hops: tuple[Hop, ...] = ()
    error: str | None = None
    """What went wrong, in words; ``None`` exactly where there is an answer."""
    entity: str | None = None
    """The entity that the model named first (PokeMQA)."""
    model: str | None = None
    usage: Usage = Usage()
    transcript: str = ""
    """What stood in the prompt behind the demonstrations at the end."""

    @property
    def edits(self) -> tuple[str, ...]:
        """``id@version`` of the edits that gave a hop its answer, each once."""
        told = (Source.EDIT, Source.MODEL_WITH_EDIT)
        used = (hop.edit for hop in self.hops if hop.edit and hop.source in told)
        return tuple(dict.fromkeys(used))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values."""
        return {
            "question": self.question,
            "answer": self.answer,
            "ended": self.ended.value,
            "error": self.error,
            "method": self.method,
            "model": self.model,
            "entity": self.entity,
            "edits": list(self.edits),
            "hops": [hop.to_dict() for hop in self.hops],
            "usage": asdict(self.usage),
            "transcript": self.transcript,
        }
