"""What a GPU trains with computes what a CPU trains with; checked here, on a CPU."""

import copy
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from examples.atlas.accelerator import Accelerator
from examples.atlas.muon import StackedMuon
from examples.atlas.network import Shape, cast, new_parameters
from examples.atlas.stream import Stream
from examples.atlas.tokenizer import train_tokenizer
from examples.atlas.train import SMOKE, make_stream
from examples.atlas.workers import Workers
from examples.atlas.world import build_world

SHAPE = Shape(vocab=1024, width=64, hidden=128, layers=4, heads=2, recall=2)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_tokenizer(build_world(), SHAPE.vocab).save(str(path))
    return path


@pytest.fixture(scope="module")
def leaves() -> dict[str, Tensor]:
    return cast(new_parameters(SHAPE, torch.Generator().manual_seed(0)), SHAPE)


@pytest.mark.parametrize("processes", [0, 2])
def test_gradients_of_a_step_are_those_of_the_written_out_network(
    tokenizer: Path, leaves: dict[str, Tensor], processes: int
) -> None:
    make: partial[Stream] = partial(make_stream, tokenizer, SMOKE, SHAPE)
    with (
        Workers(leaves, SHAPE, make, 1) as workers,
        Accelerator(leaves, SHAPE, make, processes, range(5, 7)) as accelerator,
    ):
        for step in (5, 6):
            one, other = (w.gradients(leaves, step) for w in (workers, accelerator))
            assert float(other.loss) == pytest.approx(float(one.loss), rel=1e-3)
            assert float(other.answers) == pytest.approx(float(one.answers), rel=1e-3)
            assert one.tokens == other.tokens
            for name, leaf in workers.leaves.items():
                got, expected = accelerator.leaves[name].grad, leaf.grad
                assert got is not None and expected is not None
                error = (got.float() - expected.float()).norm() / expected.float().norm()
                assert error < 0.03, name  # both are rounded to bfloat16 on the way
                leaf.grad = accelerator.leaves[name].grad = None


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
