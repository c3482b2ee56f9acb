"""Gradients of a step on a GPU, which processes beside it feed with batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from examples.atlas.network import Shape
from examples.atlas.plain_network import Piece, piece, weighted_loss
from examples.atlas.stream import Stream
from examples.atlas.workers import Tally


class Step(NamedTuple):
    """A step's micro-batches, and the sums of the weights, of the answers and of the tokens."""

    pieces: list[Piece]
    total: float
    answers: float
    tokens: int


class Steps(Dataset[Step]):
    """The steps of a stream by their numbers; every process that reads makes its own stream."""

    def __init__(self, make_stream: Callable[[], Stream]):
        self.make_stream = make_stream
        self.stream: Stream | None = None

    def __getitem__(self, step: int) -> Step:
        """The step's batches, on the processor."""
        if self.stream is None:
            self.stream = self.make_stream()
        batches = self.stream.step(step)
        return Step(
            [piece(batch) for batch in batches],
            sum(float(b.weights.sum()) for b in batches),
            sum(float((b.weights >= 0.5).sum()) for b in batches),
            sum(int((b.tokens > 0).sum()) for b in batches),
        )


class Accelerator:
    """The interface of `Workers`, on one device; use as a context manager.

    `make_stream` is called in each of the `processes` that make batches, and must be picklable.
    Steps have to be asked for in their order, from `first` to `last`.
    """

    def __init__(
        self,
        leaves: dict[str, Tensor],
        shape: Shape,
        make_stream: Callable[[], Stream],
        processes: int,
        steps: range,
    ):
        self.shape = shape
        self.leaves = {n: v.detach().clone().requires_grad_(True) for n, v in leaves.items()}
        self.device = next(iter(leaves.values())).device
        loader: DataLoader[Step] = DataLoader(
            Steps(make_stream),
            batch_size=None,
            sampler=steps,
            num_workers=processes,
            prefetch_factor=2 if processes else None,
            pin_memory=self.device.type == "cuda",
            multiprocessing_context="spawn" if processes else None,
        )
        self.loader: Iterator[Step] = iter(loader)

    def __enter__(self) -> Accelerator:
        return self

    def __exit__(self, *exc: object) -> None:
        del self.loader  # ends its processes

    def gradients(self, fresh: dict[str, Tensor], step: int) -> Tally:
        """Gradients of the next step at the weights `fresh`, added up in `self.leaves`.

        The losses of the tally are on the device still: reading them waits for it.
        """
        with torch.no_grad():
            for name, leaf in self.leaves.items():
                leaf.copy_(fresh[name])
        pieces, total, answers, tokens = next(self.loader)
        tally = Tally(tokens=tokens)
        for part in pieces:
            there = Piece(
                *(None if t is None else t.to(self.device, non_blocking=True) for t in part)
            )
            loss, on_answers = weighted_loss(self.leaves, self.shape, there)
            (loss / total).backward()  # type: ignore[no-untyped-call]
            tally.loss = tally.loss + loss.detach() / total
            tally.answers = tally.answers + on_answers / answers
        return tally
