"""The decision about one prompt, as a value: printed, returned by the API, summed up in headers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from memedit.incontext.base import NONE_SHOWN, Demonstrations
from memedit.routing.contradicting import LeftOut
from memedit.types import DEFAULT_NAMESPACE, Action, Operation, QueryText, ScopeDecision, Surface


class Reason(StrEnum):
    """Why a route is what it is."""

    NO_EDITS = "no_edits"
    GATED = "gated"
    OUT_OF_SCOPE = "out_of_scope"
    IN_SCOPE = "in_scope"
    BYPASSED = "bypassed"
    NOT_READ = "not_read"
    MEMORY_FAILED = "memory_failed"


@dataclass(frozen=True, slots=True)
class RouteQuery:
    """One prompt to be routed."""

    query: QueryText
    surface: Surface = Surface.CHAT
    namespaces: tuple[str, ...] = (DEFAULT_NAMESPACE,)
    threshold: float | None = None
    """Replaces the classifier's own threshold for this prompt."""
    model: str | None = None
    """The model that the request names, for what is deployed for one."""


@dataclass(frozen=True, slots=True)
class Route:
    """What is done with one prompt."""

    action: Action
    reason: Reason
    namespaces: tuple[str, ...] = (DEFAULT_NAMESPACE,)
    method: str | None = None
    """The registry name of the in-context method that applies the edits, or of the agent's."""
    applied: tuple[ScopeDecision, ...] = ()
    """Those that concern the prompt, most probable first."""
    considered: tuple[ScopeDecision, ...] = ()
    """All candidates that were judged, most probable first."""
    note: str | None = None
    demonstrations: Demonstrations = NONE_SHOWN
    """The worked examples that are written before the edits."""
    adapter: str | None = None
    """The adapter that the request goes to."""
    carried: tuple[str, ...] = ()
    """``id@version`` of those applied edits that the adapter holds: they need no words."""
    instead: Route | None = field(default=None, compare=False)
    """Of a route to the counterfactual model: what is done where that model cannot be asked."""
    agent: Mapping[str, Any] | None = field(default=None, compare=False)
    """What an agent did, hop by hop, JSON-ready; also where it came to no answer."""
    left_out: tuple[LeftOut, ...] = ()
    """Edits that concern the prompt and are not applied, since others answer it differently."""
    remembered: tuple[ScopeDecision, ...] = ()
    """Erasures that an earlier turn of the conversation asks, which the answer is watched for."""

    @property
    def in_context(self) -> tuple[ScopeDecision, ...]:
        """The applied edits that are written into the prompt."""
        if self.action is Action.AGENT:
            return ()
        if self.adapter is None:
            return self.applied
        return tuple(one for one in self.applied if one.candidate.edit.ref not in self.carried)

    @property
    def edit_ids(self) -> tuple[str, ...]:
        """``id@version`` of every edit that is applied."""
        return tuple(decision.candidate.edit.ref for decision in self.applied)

    @property
    def erasures(self) -> tuple[ScopeDecision, ...]:
        """The erasures that concern the prompt, or a turn before it, each once.

        Those that other edits speak in place of are among them.

        Another answer to the same prompt lifts none, nor does a newer erasure: a retraction does.
        """
        out = {one.edit for one in self.left_out}
        silent = (one for one in self.considered if one.candidate.edit.ref in out)
        return tuple(
            {
                one.candidate.edit.ref: one
                for one in (*self.remembered, *self.applied, *silent)
                if one.candidate.edit.request.operation is Operation.ERASE
            }.values()
        )

    @property
    def guarded(self) -> tuple[str, ...]:
        """``id@version`` of every erasure whose ground truth the answer is watched for."""
        return tuple(
            one.candidate.edit.ref
            for one in self.erasures
            if one.candidate.edit.request.ground_truth is not None
        )

    @property
    def unguarded(self) -> bool:
        """Whether a fact is erased whose ground truth nobody said."""
        return any(one.candidate.edit.request.ground_truth is None for one in self.erasures)

    def to_dict(self) -> dict[str, Any]:
        """Return the whole decision as JSON-ready values."""
        return {
            "action": self.action.value,
            "reason": self.reason.value,
            "namespaces": list(self.namespaces),
            "method": self.method if self.in_context or self.action is Action.AGENT else None,
            "adapter": self.adapter,
            "carried": list(self.carried),
            "edits": list(self.edit_ids),
            "guarded": list(self.guarded),
            "considered": [
                {
                    "edit": decision.candidate.edit.ref,
                    "statement": decision.candidate.edit.statement,
                    "matched": decision.candidate.matched,
                    "similarity": round(decision.candidate.similarity, 6),
                    "scope": decision.label.value,
                    "probabilities": {
                        "direct": round(decision.direct, 6),
                        "dependent": round(decision.dependent, 6),
                        "unrelated": round(decision.unrelated, 6),
                    },
                    "applied": decision in self.applied,
                }
                for decision in self.considered
            ],
            "left_out": [
                {"edit": one.edit, "by": one.by, "why": one.why.value} for one in self.left_out
            ],
            "demonstrations": len(self.demonstrations),
            "agent": self.agent,
            "note": self.note,
        }


def joined(*notes: str | None) -> str | None:
    """Return several notes as one, each once, with commas between; ``None`` where none is."""
    parts = [part for note in notes for part in (note or "").split(",") if part]
    return ",".join(dict.fromkeys(parts)) or None
