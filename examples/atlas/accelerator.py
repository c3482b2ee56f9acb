"""Steps on a GPU, which processes beside it feed with documents.

A step of so small a network is thousands of operations that take a GPU less time than a processor
needs to ask for them; so it is recorded once and repeated (a CUDA graph).
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from examples.atlas.network import Shape
from examples.atlas.plain_network import Piece, packed, weighted_loss
from examples.atlas.stream import Stream
from examples.atlas.workers import Tally

TOGETHER = 8
"""Steps that are handed over together."""
UNRECORDED = 3
"""Steps before the recording, in which the optimizers make their states."""


def _deaf(_: int) -> None:
    """Leaves it to the parent when to stop: Ctrl-C reaches every process of a terminal."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


class Steps(Dataset[Piece]):
    """A stream's steps, TOGETHER from a number on; each process that reads makes its own stream."""

    def __init__(self, make_stream: Callable[[], Stream], height: int):
        self.make_stream = make_stream
        self.height = height
        self.stream: Stream | None = None

    def __getitem__(self, first: int) -> Piece:
        """numbers [TOGETHER, 5, R, T] and weights [TOGETHER, 2, R, T]."""
        if self.stream is None:
            self.stream = self.make_stream()
        stream = self.stream
        pieces = [
            packed(stream.rows(step), stream.shape, self.height,
                   np.random.default_rng((stream.seed, step)))
            for step in range(first, first + TOGETHER)
        ]  # fmt: skip
        numbers, weights = zip(*pieces, strict=True)
        return Piece(torch.stack(numbers), torch.stack(weights))


class Accelerator:
    """Computes steps on a device; use as a context manager.

    `body` takes a function that computes the loss and makes the gradients of leaves, and updates
    the parameters by it: all that a step does on the device. `make_stream` is called in each of
    the `processes` that make batches, and must be picklable. The steps are taken from `first` on.
    """

    def __init__(
        self,
        shape: Shape,
        body: Callable[[Callable[[dict[str, Tensor]], None]], None],
        make_stream: Callable[[], Stream],
        height: int,
        processes: int,
        steps: range,
        device: torch.device,
    ):
        self.shape = shape
        self.body = body
        self.device = device
        loader: DataLoader[Piece] = DataLoader(
            Steps(make_stream, height),
            batch_size=None,
            sampler=range(steps.start, steps.stop, TOGETHER),
            num_workers=processes,
            prefetch_factor=2 if processes else None,
            pin_memory=device.type == "cuda",
            multiprocessing_context="spawn" if processes else None,
            worker_init_fn=_deaf,
        )
        self.loader: Iterator[Piece] = iter(loader)
        self.waiting: list[Piece] = []
        self.taken = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        size = (height, shape.context)
        self.piece = Piece(
            torch.zeros((5, *size), dtype=torch.int16, device=device),
            torch.zeros((2, *size), device=device),
        )
        self.losses = torch.zeros(2, device=device)

    def __enter__(self) -> Accelerator:
        return self

    def __exit__(self, *exc: object) -> None:
        del self.loader  # ends its processes

    def step(self) -> Tally:
        """Takes the next step; the losses of the tally are on the device until they are read."""
        if not self.waiting:
            several = next(self.loader)
            there = Piece(*(t.to(self.device, non_blocking=True) for t in several))
            self.waiting = [Piece(n, w) for n, w in zip(*there, strict=True)]
            self.tokens = (several.numbers[:, 0] > 0).sum((1, 2)).tolist()
        numbers, weights = self.waiting.pop(0)
        self.piece.numbers.copy_(numbers)
        self.piece.weights.copy_(weights)
        if self.device.type != "cuda":
            self._compute()
        elif self.taken < UNRECORDED:
            beside = torch.cuda.Stream()
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                self._compute()
            torch.cuda.current_stream().wait_stream(beside)
        else:
            if self.graph is None:
                self.graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(self.graph):
                    self._compute()
            self.graph.replay()
        self.taken += 1
        return Tally(*self.losses.clone().unbind(0), self.tokens.pop(0))

    def _compute(self) -> None:
        def gradients(leaves: dict[str, Tensor]) -> None:
            loss, answers = weighted_loss(leaves, self.shape, self.piece)
            loss.backward()  # type: ignore[no-untyped-call]
            self.losses.copy_(torch.stack((loss.detach(), answers)))

        self.body(gradients)
