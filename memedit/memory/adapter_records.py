"""Adapters and deployments as values: what the memory knows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from memedit.errors import InvalidInputError
from memedit.memory.ids import split_ref
from memedit.types import ADAPTER_NAME


class TargetKind(StrEnum):
    """What an adapter can be deployed for."""

    NAMESPACE = "namespace"
    MODEL = "model"
    """The name that requests give their model."""


class AdapterKind(StrEnum):
    """How an adapter came to be."""

    ADAPTER = "adapter"
    """Learned beside the weights, for prompts that concern its edits."""
    BAKE = "bake"
    """A change of the weights themselves, written as a LoRA; good for all prompts."""


@dataclass(frozen=True, slots=True)
class AdapterRecord:
    """What the memory knows of an adapter."""

    name: str
    """``memedit-<id>-<version>``, as its folder in the library and in the served model."""
    base: str
    """Fingerprint of the model it is for, SHA-256 in hex."""
    method: str
    edits: tuple[str, ...]
    """``id@version`` of the edits that it holds."""
    kind: AdapterKind = AdapterKind.ADAPTER
    sha256: str = ""
    """Of its tensors."""
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    """By it adapters that hold the same edit are ranked, the newest first; a version from which
    edits were only taken out has its predecessor's, and so its rank."""
    retired_at: datetime | None = None

    @property
    def live(self) -> bool:
        """Whether requests may go to it."""
        return self.retired_at is None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {
            "name": self.name,
            "base": self.base,
            "method": self.method,
            "kind": self.kind.value,
            "edits": list(self.edits),
            "sha256": self.sha256,
            "created_at": self.created_at.isoformat(),
            "retired_at": None if self.retired_at is None else self.retired_at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Deployment:
    """An adapter that all traffic of a namespace, or to a model, goes through."""

    kind: TargetKind
    target: str
    adapter: str
    author: str | None
    created_at: datetime

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {
            self.kind.value: self.target,
            "adapter": self.adapter,
            "author": self.author,
            "created_at": self.created_at.isoformat(),
        }


@dataclass(frozen=True)
class AdapterView:
    """All adapters and deployments at one moment; never changed, so it may be shared."""

    records: Mapping[str, AdapterRecord] = field(default_factory=dict)
    """By name."""
    deployments: Mapping[tuple[TargetKind, str], Deployment] = field(default_factory=dict)
    by_edit: Mapping[str, tuple[AdapterRecord, ...]] = field(default_factory=dict)
    """By an edit's id: the live adapters that hold any version of it, the newest first."""

    @classmethod
    def of(cls, records: Sequence[AdapterRecord], deployments: Sequence[Deployment]) -> AdapterView:
        """Make the view of what the tables hold."""
        by_edit: dict[str, list[AdapterRecord]] = {}
        for record in sorted(records, key=_rank, reverse=True):
            for ref in record.edits if record.live else ():
                by_edit.setdefault(split_ref(ref)[0], []).append(record)
        return cls(
            {one.name: one for one in records},
            {(one.kind, one.target): one for one in deployments},
            {edit: tuple(found) for edit, found in by_edit.items()},
        )


def _rank(record: AdapterRecord) -> tuple[datetime, str, int]:
    """Return what is greater of the adapter that is taken; of versions of one age, the later."""
    return record.created_at, *split_name(record.name)


def split_name(name: str) -> tuple[str, int]:
    """Split ``memedit-<id>-<version>``.

    Raises:
        InvalidInputError: it is not of that form, and so no name of an adapter.

    """
    match = ADAPTER_NAME.fullmatch(name)
    if match is None:
        raise InvalidInputError(
            f"{name[:80]!r} is no name of an adapter; expected memedit-ID-VERSION, such as "
            "memedit-capitals-1: ID of a-z, 0-9 and -, VERSION a number from 1"
        )
    return match[1], int(match[2])
