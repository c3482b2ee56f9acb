"""What adapters are set with, hold, and return of their work."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from torch import Tensor

from memedit.errors import InvalidInputError
from memedit.modeling.delta import EditVersion
from memedit.modeling.tokens import Tokens
from memedit.types import EditRequest

Progress = Callable[[int, int], None]
"""Called with (done, in all)."""


class Host(StrEnum):
    """Where an adapter can be put to use."""

    PROCESS = "process"
    """In this process, on a transformers model."""
    VLLM_LORA = "vllm-lora"
    """In a vLLM as it is, as a LoRA that a request names."""
    VLLM_PLUGIN = "vllm-plugin"
    """In a vLLM that has memedit's plugin."""


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """What every method's settings hold."""

    layer: int | None = None
    """The layer that is looked at; ``None``: the middle one, unless a method says otherwise."""


@dataclass(frozen=True, slots=True)
class HeldEdit:
    """An edit that an adapter holds."""

    edit: EditVersion
    request: EditRequest
    said: bool = True
    """Whether its target was said, greedily, when it was learned; see ``Learned.said``."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What came of learning a batch, in the order of its requests."""

    losses_before: tuple[float, ...]
    """Mean cross-entropy of the target's tokens, in nats, of the model as it was."""
    losses: tuple[float, ...]
    """The same with the adapter attached."""
    said: tuple[bool, ...]
    """Whether each target would be said, greedily, with the adapter attached."""
    steps: int
    """Optimisation steps, of the edit that needed most."""
    replaced: tuple[EditVersion, ...] = ()
    """Edits that are not held any more: they gave another answer to the same prompt, also where
    that came later in the same batch, or were an earlier version of the same edit."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A method's own part of a saved adapter."""

    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]
    """Plain values, for JSON."""


class Attachment:
    """An adapter at work on a model."""

    @contextmanager
    def prompts_end(self, positions: Sequence[int] | Tensor) -> Iterator[None]:
        """Say where the prompts of the batches inside the block end, for scoring of targets.

        Without it a row's last token that is no padding counts as the prompt's last: right for
        prompts and for generation.  Methods that decide per token need no telling.

        Args:
            positions: int64 [B], index of each row's last prompt token in the padded batch.

        """
        yield


def superseded(held: Mapping[str, Tokens], rows: Sequence[Tokens]) -> set[str]:
    """Return the ids of held edits to whose prompt one of the new rows has another answer."""
    answers = {row.prompt: row.target for row in rows}
    return {name for name, row in held.items() if answers.get(row.prompt, row.target) != row.target}


def versions_of(
    requests: Sequence[EditRequest], edits: Sequence[EditVersion] | None
) -> list[EditVersion]:
    """Return for each request of a batch the edit that it is.

    Args:
        requests: the batch.
        edits: the stored edits; left out, ids are made of the requests.

    Raises:
        InvalidInputError: as many as the requests they are not, one is there twice, or two
            requests of the batch answer the same prompt differently.

    """
    if edits is not None and len(edits) != len(requests):
        raise InvalidInputError(f"got {len(requests)} requests and {len(edits)} edits")
    given = list(edits) if edits is not None else [_version_of(one) for one in requests]
    answers: dict[str, str] = {}
    for one in requests:
        if answers.setdefault(one.prompt, one.target_new) != one.target_new:
            raise InvalidInputError(
                f"two answers to {one.prompt!r} in one batch: {answers[one.prompt]!r} and "
                f"{one.target_new!r}; learn the later one in a batch after the other"
            )
    times = Counter(one.id for one in given)
    if twice := sorted(name for name, n in times.items() if n > 1):
        raise InvalidInputError(
            f"{len(twice)} edits occur twice in one batch (first: {twice[0]}); give each once"
        )
    return given


def _version_of(request: EditRequest) -> EditVersion:
    """Make an id of what a request asks for: another answer to a prompt is another edit."""
    text = "\n".join((request.prompt, request.subject, request.target_new))
    return EditVersion(f"local-{hashlib.sha256(text.encode()).hexdigest()[:16]}", 1)
