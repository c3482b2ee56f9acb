"""What a GPU trains with computes what a CPU trains with; checked here, on a CPU."""

import copy
import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from examples.atlas.accelerator import TOGETHER, Accelerator
from examples.atlas.muon import StackedMuon
from examples.atlas.network import Shape, cast, new_parameters
from examples.atlas.network import hidden_states as on_a_cpu
from examples.atlas.plain_network import hidden_states, packed
from examples.atlas.stream import Stream, sources
from examples.atlas.tokenizer import train_tokenizer
from examples.atlas.train import SMOKE, make_stream
from examples.atlas.trainer import Trainer, arithmetic
from examples.atlas.workers import Workers, loss_for
from examples.atlas.world import build_world

SHAPE = Shape(vocab=1024, width=64, hidden=128, layers=4, heads=2, recall=3)
"""No layer is above those that recall, so that chance leaves none out."""
ROUTED = Shape(vocab=1024, width=64, hidden=128, layers=4, heads=2, recall=2)
FIRST = 5


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> "partial[Stream]":
    path: Path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_tokenizer(build_world(), SHAPE.vocab).save(str(path))
    return partial(make_stream, path, SMOKE, SHAPE)


@pytest.fixture(scope="module")
def routed(make: "partial[Stream]") -> Stream:
    stream: Stream = make.func(*make.args[:2], ROUTED)
    return stream


@pytest.mark.parametrize("processes", [0, 2])
def test_the_gradients_of_a_step_are_those_of_the_written_out_network(
    make: "partial[Stream]", processes: int
) -> None:
    parameters = new_parameters(SHAPE, torch.Generator().manual_seed(0))
    leaves = cast(parameters, SHAPE)
    ours: list[dict[str, Tensor]] = []

    def body(gradients: object) -> None:
        assert callable(gradients)
        fresh = cast(parameters, SHAPE)
        gradients(fresh)
        ours.append({name: leaf.grad for name, leaf in fresh.items() if leaf.grad is not None})

    steps = range(FIRST, FIRST + TOGETHER + 1)
    with (
        Workers(leaves, SHAPE, make, 1) as workers,
        Accelerator(SHAPE, body, make, 8, processes, steps, torch.device("cpu")) as accelerator,
    ):
        for step in (FIRST, FIRST + 1):
            one, other = workers.gradients(leaves, step), accelerator.step()
            assert float(other.loss) == pytest.approx(float(one.loss), rel=2e-3)
            assert float(other.answers) == pytest.approx(float(one.answers), rel=2e-3)
            assert one.tokens == other.tokens
            for name, leaf in workers.leaves.items():
                assert leaf.grad is not None
                expected = leaf.grad.float()
                error = (ours[-1][name].float() - expected).norm() / expected.norm()
                assert error < 0.03, name  # both are rounded to bfloat16 on the way
                leaf.grad = None


def test_a_cpu_without_bfloat16_computes_the_same_gradients(routed: Stream) -> None:
    parameters = new_parameters(ROUTED, torch.Generator().manual_seed(0))
    leaves = [cast(parameters, ROUTED, dtype) for dtype in (torch.bfloat16, torch.float32)]
    batches = routed.step(FIRST)
    assert any(not bool(batch.kept.all()) for batch in batches)
    sums = []
    for part in leaves:
        loss = loss_for(part["norm"].dtype, ROUTED)
        losses = [loss(part, batch) for batch in batches]
        torch.stack([one for one, _ in losses]).sum().backward()
        sums.append([float(torch.stack(side).detach().sum()) for side in zip(*losses, strict=True)])
    assert sums[0] == pytest.approx(sums[1], rel=2e-3)
    for name, leaf in leaves[1].items():
        rounded = leaves[0][name].grad
        assert leaf.grad is not None and rounded is not None
        error = (rounded.float() - leaf.grad).norm() / leaf.grad.norm()
        assert error < 0.03, name


def test_steps_on_a_device_train_as_steps_on_processes_do(make: "partial[Stream]") -> None:
    trainers = [Trainer(SHAPE, SMOKE) for _ in range(2)]
    one, other = trainers
    for trainer in trainers:
        trainer.step = FIRST
    with (
        Workers(cast(one.parameters, SHAPE), SHAPE, make, 1) as workers,
        Accelerator(SHAPE, other.whole_step, make, 8, 0, range(FIRST, 99), other.device) as there,
    ):
        for _ in range(3):
            losses = [float(t.train_step(w, 1.0).loss) for t, w in ((one, workers), (other, there))]
            assert losses[0] == pytest.approx(losses[1], rel=0.01)
    assert one.step == other.step == FIRST + 3 and one.seen == other.seen
    assert losses[0] < 6.93  # less than chance among 1,024 tokens


def test_helpers_leave_it_to_the_parent_when_to_stop_and_one_that_died_is_said(
    make: "partial[Stream]",
) -> None:
    parameters = new_parameters(SHAPE, torch.Generator().manual_seed(0))
    leaves = cast(parameters, SHAPE, arithmetic())
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with Workers(leaves, SHAPE, make, 2) as workers:
        assert before == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
        [(helper, *_)] = workers.helpers
        for number in (signal.SIGTERM, signal.SIGINT):  # while it still imports
            os.kill(helper.pid, number)
        assert workers.gradients(leaves, FIRST).tokens > 0
        helper.kill()
        with pytest.raises(RuntimeError, match=r"1 of 1 helper processes ended .* --run"):
            workers.gradients(leaves, FIRST)


def test_documents_in_a_row_do_not_see_each_other_and_layers_are_left_out() -> None:
    shape = Shape(vocab=300, width=64, hidden=96, layers=3, heads=2, context=32, recall=1)
    parameters = new_parameters(shape, torch.Generator().manual_seed(0))
    leaves = cast(parameters, shape)
    rng = np.random.default_rng(1)
    plain = np.zeros(9, np.int64)
    marked = np.array([0, 0, 1, 1, 0, 0, 0, 0, 0])
    rows = [(rng.integers(1, 300, 9), np.ones(9, np.float32), m) for m in (plain, marked, marked)]
    piece = packed(rows, shape, 1, np.random.default_rng(0))
    tokens, documents, mentions, dropped, sources = piece.numbers.unbind(0)
    assert documents[0].tolist() == [1] * 9 + [2] * 9 + [3] * 9 + [0] * 5
    assert not dropped[0, :9].any() and set(dropped[0].tolist()) <= {0, 4}
    assert piece.weights.sum((1, 2)).tolist() == pytest.approx([1, 1])
    assert not piece.weights[:, 0, [0, 9, 18, 31]].any()
    with torch.no_grad():
        together = hidden_states(leaves, shape, *alone_of(piece.numbers))
        for i in range(3):
            alone = packed(rows[i : i + 1], shape, 1, np.random.default_rng(0)).numbers
            got = hidden_states(leaves, shape, *alone_of(alone))[0, :9]
            want = together[0, 9 * i : 9 * i + 9]
            assert (got - want).float().norm() < 0.02 * want.float().norm()
        left_out = dropped * 0 + 4
        without = hidden_states(leaves, shape, tokens, documents, mentions, left_out, sources)
        parameters["model.layers.2.mlp.down_proj.weight"].zero_()
        expected = hidden_states(cast(parameters, shape), shape, *alone_of(piece.numbers))
    assert torch.equal(without, expected)


def alone_of(numbers: Tensor) -> list[Tensor]:
    """The numbers, with no layer left out."""
    return [*numbers[:3].unbind(0), numbers[3] * 0, numbers[4]]


def test_a_mention_has_its_donors_state_above_the_lower_layers() -> None:
    shape = Shape(vocab=300, width=64, hidden=96, layers=3, heads=2, context=32, recall=1)
    leaves = cast(new_parameters(shape, torch.Generator().manual_seed(0)), shape)
    rng = np.random.default_rng(1)
    marked = np.array([0, 0, 1, 1, 0, 0, 0, -1, -1, -1])
    ids = rng.integers(1, 300, 10)
    another_answer, another_donor, another_end = ids.copy(), ids.copy(), ids.copy()
    another_answer[6], another_donor[8], another_end[3] = 7, 7, 7
    before = (rng.integers(1, 300, 4), np.ones(4, np.float32), np.zeros(4, np.int64))
    together, hidden = [], []
    for row in (ids, another_answer, another_donor, another_end):
        rows = [(row, np.ones(10, np.float32), marked), before]
        numbers = packed(rows, shape, 1, np.random.default_rng(0)).numbers
        assert numbers[4, 0, :14].tolist() == [0, 1, 2, 9, *range(4, 14)]
        with torch.no_grad():
            together.append(hidden_states(leaves, shape, *alone_of(numbers))[0, :10])
            tokens, mentions = torch.from_numpy(row)[None], torch.from_numpy(marked)[None]
            own = torch.from_numpy(sources(marked))[None]
            hidden.append(on_a_cpu(leaves, shape, tokens, mentions, sources=own)[0])
    for one in (together, hidden):
        assert torch.equal(one[0][:6], one[1][:6])  # nothing that comes later, donors neither
        assert torch.equal(one[0][3], one[3][3])  # its own last token is not asked
        assert torch.equal(one[0][:3], one[2][:3])
        assert not torch.equal(one[0][3], one[2][3]) and not torch.equal(one[0][5], one[2][5])
    for mine, other in zip(together, hidden, strict=True):
        assert (mine - other).float().norm() < 0.02 * other.float().norm()


def test_gradients_reach_a_donor_and_not_what_it_replaces() -> None:
    shape = Shape(vocab=300, width=64, hidden=96, layers=3, heads=2, context=32, recall=1)
    parameters = new_parameters(shape, torch.Generator().manual_seed(0))
    tokens = torch.randperm(300, generator=torch.Generator().manual_seed(1))[None, :9]
    mentions = torch.tensor([[0, 0, 1, 1, 0, 0, -1, -1, -1]])
    own = torch.from_numpy(sources(mentions[0].numpy()))[None]
    documents, dropped = torch.ones_like(tokens), torch.zeros_like(tokens)
    grads = []
    for cpu in (True, False):
        leaves = cast(parameters, shape)
        if cpu:
            hidden = on_a_cpu(leaves, shape, tokens, mentions, sources=own)
        else:
            hidden = hidden_states(leaves, shape, tokens, documents, mentions, dropped, own)
        hidden[0, 5].float().sum().backward()
        grads.append({n: leaf.grad.float() for n, leaf in leaves.items() if leaf.grad is not None})
    for name in grads[0]:
        assert (grads[0][name] - grads[1][name]).norm() < 0.05 * grads[1][name].norm(), name
    for one in grads:
        reached = one["embed"].any(1)[tokens[0]].tolist()
        assert reached == [True, True, True, False, True, True, True, True, True]


def test_stacked_muon_does_what_muon_does() -> None:
    generator = torch.Generator().manual_seed(3)
    sizes = ((6, 6), (6, 6), (12, 6), (6, 12), (12, 6))
    ours = [nn.Parameter(torch.randn(size, generator=generator)) for size in sizes]
    theirs = copy.deepcopy(ours)
    options = {"lr": 0.01, "weight_decay": 0.1, "momentum": 0.9, "adjust_lr_fn": "match_rms_adamw"}
    optimizers = (StackedMuon(ours, **options), torch.optim.Muon(theirs, **options))
    for _ in range(4):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
        for one, other in zip(ours, theirs, strict=True):
            assert (one - other).norm() < 2e-3 * other.norm()
    optimizers[1].load_state_dict(optimizers[0].state_dict())
