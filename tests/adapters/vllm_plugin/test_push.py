"""Deltas put in force in an engine that fails where it is told to."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from memedit.adapters.vllm_plugin.library import AdapterLibrary
from memedit.adapters.vllm_plugin.push import WeightPusher, WeightsFailure
from memedit.adapters.vllm_plugin.served_checkpoint import ServedCheckpoint
from memedit.errors import ConflictError, InvalidInputError, NotFoundError
from memedit.modeling.delta import WeightDelta

DOWN = "model.layers.0.mlp.down_proj.weight"
UP = "model.layers.1.mlp.up_proj.weight"


class Engine:
    """Two workers that hold tensors; ``fails`` says which calls of the second one do."""

    def __init__(self, base: ServedCheckpoint) -> None:
        self.base = base
        self.workers: list[dict[str, Tensor]] = [{}, {}]
        self.fails: set[str] = set()
        self.log: list[str] = []
        self.paused = False
        self.vllm_config = SimpleNamespace(
            model_config=SimpleNamespace(quantization=None, dtype=torch.float32),
            parallel_config=SimpleNamespace(data_parallel_size=1),
        )
        self.restore()

    def restore(self) -> None:
        for held in self.workers:
            held.update({name: self.base.checkpoint.read(name) for name in (DOWN, UP)})

    async def is_paused(self) -> bool:
        return self.paused

    async def pause_generation(self, *, mode: str, clear_cache: bool) -> None:
        assert (mode, clear_cache, self.paused) == ("keep", True, False)
        self.paused = True
        self.log.append("pause")

    async def resume_generation(self) -> None:
        self.paused = False
        self.log.append("resume")

    async def collective_rpc(self, call: str, args: Any = ()) -> list[dict[str, Any]]:
        await asyncio.sleep(0)
        packed = {"gate_up_proj": ["gate_proj", "up_proj"]}
        answers: list[dict[str, Any]] = [{"ok": True, "packed": packed} for _ in self.workers]
        if call != "memedit_state":
            assert self.paused
            self.log.append(call.removeprefix("memedit_"))
        if call == "memedit_write":
            for held in self.workers[: 1 if call in self.fails else 2]:
                held.update(load_file(args[0]))
        if call == "memedit_restore" and call not in self.fails:
            self.restore()
        if "raise" in self.fails:
            raise RuntimeError("the engine is gone")
        if call in self.fails:
            answers[1] = {"ok": False, "error": "RuntimeError: no memory"}
        return answers


@pytest.fixture
def base(tiny_checkpoint: Path) -> ServedCheckpoint:
    return ServedCheckpoint(tiny_checkpoint)


@pytest.fixture
def engine(base: ServedCheckpoint) -> Engine:
    return Engine(base)


@pytest.fixture
def library(base: ServedCheckpoint, tmp_path: Path) -> AdapterLibrary:
    one = WeightDelta({DOWN: torch.ones(32, 48)}, base=base.fingerprint)
    one.save(tmp_path / "memedit-one-1")
    replace(one, changes={DOWN: torch.full((32, 48), 2.0), UP: torch.ones(48, 32)}).save(
        tmp_path / "memedit-two-1"
    )
    replace(one, base="d" * 64).save(tmp_path / "memedit-stranger-1")
    return AdapterLibrary(tmp_path)


@pytest.fixture
def pusher(engine: Engine, library: AdapterLibrary, base: ServedCheckpoint) -> WeightPusher:
    return WeightPusher(engine, library, base)


def put(pusher: WeightPusher, *names: str) -> dict[str, Any]:
    return asyncio.run(pusher.put(names))


def holds(engine: Engine, down: float, up: float) -> bool:
    """Tell whether all workers hold the checkpoint's weights plus these numbers."""
    want = {name: engine.base.checkpoint.read(name) for name in (DOWN, UP)}
    return all(
        torch.equal(held[DOWN], want[DOWN] + down) and torch.equal(held[UP], want[UP] + up)
        for held in engine.workers
    )


def test_what_is_in_force_is_the_list_and_nothing_else(
    pusher: WeightPusher, engine: Engine
) -> None:
    assert put(pusher, "memedit-one-1") == {"deltas": ["memedit-one-1"], "tensors": [DOWN]}
    assert holds(engine, 1, 0)
    written = put(pusher, "memedit-one-1", "memedit-two-1")["tensors"]
    assert UP.replace("up_proj", "gate_proj") in written
    assert pusher.names == ("memedit-one-1", "memedit-two-1")
    put(pusher, "memedit-two-1")
    assert holds(engine, 2, 1)
    put(pusher, "memedit-one-1")
    assert holds(engine, 1, 0)
    put(pusher)
    assert holds(engine, 0, 0) and pusher.names == ()
    assert engine.log == ["pause", "write", "resume"] * 5 and not engine.paused


def test_where_nothing_changes_nothing_is_paused(pusher: WeightPusher, engine: Engine) -> None:
    assert put(pusher) == {"deltas": [], "tensors": []}
    assert engine.log == []


@pytest.mark.parametrize(
    ("names", "error", "reason"),
    [
        (["memedit-none-1"], NotFoundError, "has no"),
        (["memedit-../x-1"], InvalidInputError, "is no name"),
        (["memedit-stranger-1"], InvalidInputError, "'memedit-stranger-1' cannot be used"),
        (["memedit-one-1", "memedit-one-1"], InvalidInputError, "named twice"),
    ],
)
def test_what_cannot_be_used_changes_nothing(
    pusher: WeightPusher, engine: Engine, names: list[str], error: type[Exception], reason: str
) -> None:
    put(pusher, "memedit-two-1")
    log = list(engine.log)
    with pytest.raises(error, match=reason):
        put(pusher, "memedit-one-1", *names)
    assert holds(engine, 2, 1) and engine.log == log and pusher.names == ("memedit-two-1",)


def test_servers_that_cannot_be_changed_say_so(
    pusher: WeightPusher, engine: Engine, library: AdapterLibrary
) -> None:
    engine.paused = True
    with pytest.raises(ConflictError, match="vLLM is paused"):
        put(pusher, "memedit-one-1")
    engine.paused = False
    engine.vllm_config.model_config.quantization = "fp8"
    with pytest.raises(InvalidInputError, match=r"quantized \(fp8\)"):
        put(pusher, "memedit-one-1")
    engine.vllm_config.model_config.quantization = None
    engine.vllm_config.parallel_config.data_parallel_size = 2
    with pytest.raises(InvalidInputError, match="has 2 engines"):
        put(pusher, "memedit-one-1")
    with pytest.raises(InvalidInputError, match="not a folder"):
        put(WeightPusher(engine, library, None), "memedit-one-1")
    assert engine.log == []


def test_after_half_a_failure_all_workers_hold_the_checkpoint(
    pusher: WeightPusher, engine: Engine
) -> None:
    put(pusher, "memedit-one-1")
    engine.fails = {"memedit_write"}
    with pytest.raises(WeightsFailure, match=r"no memory.*the checkpoint's own are in force again"):
        put(pusher, "memedit-two-1")
    assert holds(engine, 0, 0) and pusher.names == () and not engine.paused
    engine.fails = set()
    put(pusher, "memedit-two-1")
    assert holds(engine, 2, 1)


def test_what_cannot_be_repaired_stays_paused(pusher: WeightPusher, engine: Engine) -> None:
    engine.fails = {"memedit_write", "memedit_restore"}
    with pytest.raises(WeightsFailure, match=r"stays paused.*restart it"):
        put(pusher, "memedit-one-1")
    assert engine.paused
    engine.fails = set()
    with pytest.raises(WeightsFailure, match="restart it"):
        put(pusher)
    assert engine.log == ["pause", "write", "restore"]


def test_an_engine_that_is_gone_is_an_error(pusher: WeightPusher, engine: Engine) -> None:
    engine.fails = {"raise"}
    with pytest.raises(WeightsFailure, match="the engine is gone"):
        put(pusher, "memedit-one-1")


def test_one_list_after_the_other(pusher: WeightPusher, engine: Engine) -> None:
    async def several() -> None:
        await asyncio.gather(*(pusher.put([name]) for name in ("memedit-one-1", "memedit-two-1")))

    asyncio.run(several())
    assert engine.log == ["pause", "write", "resume"] * 2
    assert holds(engine, 2, 1)
