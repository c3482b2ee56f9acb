"""Gradients of a step on several processes, one thread each.

Two threads of one process wait for each other at every operation, and on a shared machine
mostly for nothing. Processes meet once per step: each draws the same micro-batches from the
stream, takes the next one that nobody has taken, and leaves its gradients in shared memory.
"""

from __future__ import annotations

import ctypes
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch import multiprocessing as mp

from examples.atlas.kernels import Kernels
from examples.atlas.network import Shape, weighted_loss
from examples.atlas.plain_network import padded_loss
from examples.atlas.stream import Batch, Stream

Loss = Callable[[dict[str, Tensor], Batch], tuple[Tensor, Tensor]]


@dataclass(slots=True)
class Tally:
    """What one process did in a step: weighted loss, loss per answer token, tokens seen."""

    loss: float | Tensor = 0.0
    answers: float | Tensor = 0.0
    tokens: int = 0


def keep_freed_memory() -> None:
    """Lets glibc keep what is freed: every step needs the same memory, and pages are dear.

    Handing tensors back to the system and faulting their pages in again took most of the time
    on a virtual machine. A no-op where the C library is another one.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_max = -1, -4
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)


def _largest_first(stream: Stream, step: int) -> list[Batch]:
    return sorted(stream.step(step), key=lambda b: -b.tokens.numel())


def loss_for(dtype: torch.dtype, shape: Shape) -> Loss:
    """What computes a micro-batch's losses with leaves of `dtype`: kernels.c is for bfloat16."""
    if dtype != torch.bfloat16:
        return lambda leaves, batch: padded_loss(leaves, shape, batch)
    kernels = Kernels()

    def loss(leaves: dict[str, Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
        mentions = batch.mentions if bool(batch.mentions.any()) else None
        kept = None if bool(batch.kept.all()) else batch.kept
        sources = batch.sources if bool((batch.mentions < 0).any()) else None
        return weighted_loss(
            leaves, shape, batch.tokens, batch.weights, mentions, kept, kernels, sources
        )

    return loss


def _work(
    leaves: dict[str, Tensor], batches: list[Batch], take: Callable[[], int], loss: Loss
) -> Tally:
    """Takes micro-batches until none is left; gradients are added up in `leaves`."""
    tally = Tally()
    total = sum(float(b.weights.sum()) for b in batches)
    answers = sum(float((b.weights >= 0.5).sum()) for b in batches)
    while (index := take()) < len(batches):
        batch = batches[index]
        part, on_answers = loss(leaves, batch)
        (part / total).backward()  # type: ignore[no-untyped-call]
        tally.loss += float(part.detach()) / total
        tally.answers += float(on_answers) / answers
        tally.tokens += int((batch.tokens > 0).sum())
    return tally


def _serve(
    shared: dict[str, Tensor],
    grads: dict[str, Tensor],
    shape: Shape,
    make_stream: Callable[[], Stream],
    counter: Any,
    orders: Any,
    reports: Any,
) -> None:
    """The loop of a helper process; an order of None ends it."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    keep_freed_memory()
    stream, loss = make_stream(), loss_for(shared["norm"].dtype, shape)
    leaves = {name: value.detach().requires_grad_(True) for name, value in shared.items()}
    while (step := orders.get()) is not None:
        tally = _work(leaves, _largest_first(stream, step), _taker(counter), loss)
        for name, leaf in leaves.items():
            grads[name].zero_() if leaf.grad is None else grads[name].copy_(leaf.grad)
            leaf.grad = None
        reports.put(tally)


def _taker(counter: Any) -> Callable[[], int]:
    def take() -> int:
        with counter.get_lock():
            counter.value += 1
            return int(counter.value) - 1

    return take


@contextmanager
def _unstoppable() -> Iterator[None]:
    """Processes that are started within it ignore signals to stop: the parent decides when.

    From their first moment on, as a terminal's Ctrl-C and `timeout` reach every process at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say what signals do
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _shared(value: Tensor) -> Tensor:
    """The same storage, moved into shared memory."""
    value = value.detach()
    value.share_memory_()  # type: ignore[no-untyped-call]
    return value


class Workers:
    """This process and `processes - 1` helpers; use as a context manager.

    `make_stream` is called once in every process and must be picklable.
    """

    def __init__(
        self,
        leaves: dict[str, Tensor],
        shape: Shape,
        make_stream: Callable[[], Stream],
        processes: int,
    ):
        self.shape = shape
        self.stream = make_stream()
        self.loss = loss_for(leaves["norm"].dtype, shape)
        context = mp.get_context("spawn")
        self.counter = context.Value("l", 0)
        self.reports = context.Queue()
        self.leaves = {n: _shared(v).requires_grad_(True) for n, v in leaves.items()}
        self.helpers: list[tuple[Any, Any, dict[str, Tensor]]] = []
        for _ in range(processes - 1):
            grads = {n: _shared(torch.zeros_like(v)) for n, v in leaves.items()}
            orders = context.Queue()
            shared = {n: v.detach() for n, v in self.leaves.items()}
            process = context.Process(
                target=_serve,
                args=(shared, grads, shape, make_stream, self.counter, orders, self.reports),
                daemon=True,
            )
            with _unstoppable():
                process.start()
            self.helpers.append((process, orders, grads))

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exc: object) -> None:
        for process, orders, _ in self.helpers:
            orders.put(None)
            process.join(timeout=30)

    def _report(self) -> Tally:
        """What the next helper to end its part has to say.

        Raises:
            RuntimeError: one of them died.

        """
        while True:
            try:
                tally: Tally = self.reports.get(timeout=2)
            except queue.Empty:
                if dead := [p for p, *_ in self.helpers if not p.is_alive()]:
                    raise RuntimeError(
                        f"{len(dead)} of {len(self.helpers)} helper processes ended (exit codes "
                        f"{[p.exitcode for p in dead]}), perhaps for want of memory; what was "
                        "saved last is whole: start again with the same --run"
                    ) from None
            else:
                return tally

    def gradients(self, fresh: dict[str, Tensor], step: int) -> Tally:
        """Gradients of a step at the weights `fresh`, added up in `self.leaves`."""
        with torch.no_grad():
            for name, leaf in self.leaves.items():
                leaf.copy_(fresh[name])
        self.counter.value = 0
        for _, orders, _ in self.helpers:
            orders.put(step)
        batches = _largest_first(self.stream, step)
        tally = _work(self.leaves, batches, _taker(self.counter), self.loss)
        for _ in self.helpers:
            other = self._report()
            tally.loss += other.loss
            tally.answers += other.answers
            tally.tokens += other.tokens
        for _, _, grads in self.helpers:
            for name, leaf in self.leaves.items():
                leaf.grad = grads[name].clone() if leaf.grad is None else leaf.grad + grads[name]
        return tally
