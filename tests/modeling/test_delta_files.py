"""Saved deltas: read back bit for bit, whole or not at all, and every damage refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from memedit.errors import InvalidInputError, MemeditError, MissingResourceError
from memedit.modeling.delta import EditVersion, LowRank, WeightDelta
from memedit.modeling.delta_files import MANIFEST, TENSORS, file_sha256
from memedit.modeling.fingerprint import model_fingerprint
from tests.modeling.families import tiny_model


def made() -> WeightDelta:
    generator = torch.Generator().manual_seed(5)
    wide = torch.randn((6, 8), generator=generator)
    return WeightDelta(
        {
            "dense": torch.randn((4, 6), generator=generator),
            "transposed": wide.T,
            "factors": LowRank(wide[:, :2], torch.randn((2, 5), generator=generator).bfloat16()),
            "bias": torch.randn(7, generator=generator).half(),
        },
        method="rome",
        base="0123456789abcdef" * 4,
        notes={"layer": 3, "rate": None, "loss": [2.5, 0.01], "form": "Ωmega"},
        edits=(EditVersion("e-0123456789ab", 2),),
        keys={"factors": torch.randn((5, 3), generator=generator)},
    )


def test_it_is_read_back_bit_for_bit(tmp_path: Path) -> None:
    delta = made()
    assert delta.save(tmp_path / "deltas" / "first") == tmp_path / "deltas" / "first"
    assert [path.name for path in (tmp_path / "deltas").iterdir()] == ["first"]
    back = WeightDelta.load(tmp_path / "deltas" / "first")
    assert back.names() == delta.names()
    for name, change in delta.changes.items():
        other = back.changes[name]
        if isinstance(change, LowRank):
            assert isinstance(other, LowRank)
            assert torch.equal(other.left, change.left) and torch.equal(other.right, change.right)
            assert other.right.dtype == torch.bfloat16
        else:
            assert isinstance(other, torch.Tensor)
            assert torch.equal(other, change) and other.dtype == change.dtype
    assert (back.method, back.base, back.notes, back.edits) == (
        *(delta.method, delta.base, delta.notes, delta.edits),
    )
    assert back.keys.keys() == {"factors"}
    assert torch.equal(back.keys["factors"], delta.keys["factors"])


def test_a_delta_of_nothing_can_be_kept(tmp_path: Path) -> None:
    assert WeightDelta.load(WeightDelta({}).save(tmp_path / "none")).names() == ()


def test_the_manifest_says_what_is_there(tmp_path: Path) -> None:
    manifest = json.loads((made().save(tmp_path / "d") / MANIFEST).read_text())
    assert manifest["format"] == "memedit-delta/1"
    assert manifest["edits"] == [{"id": "e-0123456789ab", "version": 2}]
    assert manifest["parameters"]["factors"] == {"kind": "low_rank", "shape": [6, 5], "rank": 2}
    assert manifest["parameters"]["bias"] == {"kind": "dense", "shape": [7], "rank": None}
    assert manifest["sha256"] == file_sha256(tmp_path / "d" / TENSORS)


def test_nothing_is_overwritten_and_nothing_is_left_behind(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    with pytest.raises(InvalidInputError, match="not overwritten"):
        made().save(there)
    assert not list(there.iterdir())
    for delta, words in (
        (WeightDelta({"a": torch.ones(2)}, notes={"loss": float("nan")}), "notes"),
        (WeightDelta({"a": torch.ones(2)}, notes={"where": object()}), "notes"),
        (WeightDelta({"a": torch.ones(2, dtype=torch.int64)}), "torch.int64"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            delta.save(tmp_path / "new")
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="file is no folder"):
        made().save(tmp_path / "file" / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "there"]


def manifest_with(**changed: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        manifest = json.loads((folder / MANIFEST).read_text())
        for name, value in changed.items():
            if value is None:
                del manifest[name]
            elif isinstance(value, dict):
                manifest[name].update(value)
            else:
                manifest[name] = value
        (folder / MANIFEST).write_text(json.dumps(manifest))

    return damage


def tensors_with(**changed: torch.Tensor | None) -> Callable[[Path], None]:
    """Change tensors and keep the checksum right: not damage but a wrong writer."""

    def damage(folder: Path) -> None:
        tensors = load_file(folder / TENSORS)
        for name, value in changed.items():
            tensors.pop(name, None)
            if value is not None:
                tensors[name] = value
        save_file(tensors, folder / TENSORS)
        manifest_with(sha256=file_sha256(folder / TENSORS))(folder)

    return damage


def one_bit(folder: Path) -> None:
    content = bytearray((folder / TENSORS).read_bytes())
    content[-1] ^= 1
    (folder / TENSORS).write_bytes(content)


def not_safetensors(folder: Path) -> None:
    (folder / TENSORS).write_bytes(b"pickle?")
    manifest_with(sha256=file_sha256(folder / TENSORS))(folder)


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no manifest": (lambda d: (d / MANIFEST).unlink(), "no delta at"),
    "no tensors": (lambda d: (d / TENSORS).unlink(), "cannot read"),
    "no json": (lambda d: (d / MANIFEST).write_text("{"), "is no JSON"),
    "a list": (lambda d: (d / MANIFEST).write_text("[]"), "expected 'memedit-delta/1'"),
    "a later format": (manifest_with(format="memedit-delta/2"), "expected 'memedit-delta/1'"),
    "one bit": (one_bit, "is damaged"),
    "cut off": (lambda d: (d / TENSORS).write_bytes((d / TENSORS).read_bytes()[:-9]), "damaged"),
    "no checksum": (manifest_with(sha256=None), "is damaged"),
    "another file": (not_safetensors, "no safetensors file"),
    "no parameters": (manifest_with(parameters=None), "'parameters' is missing"),
    "another shape": (
        manifest_with(parameters={"bias": {"kind": "dense", "shape": [8], "rank": None}}),
        "the manifest says",
    ),
    "another rank": (
        manifest_with(parameters={"factors": {"kind": "low_rank", "shape": [6, 5], "rank": 3}}),
        "the manifest says",
    ),
    "another kind": (manifest_with(parameters={"bias": {"kind": "sparse"}}), "kind 'sparse'"),
    "no kind": (manifest_with(parameters={"bias": {}}), "'kind' is missing"),
    "kind of no mapping": (manifest_with(parameters={"bias": 3}), "looks like"),
    "a tensor more": (tensors_with(more=torch.ones(1)), "are of no parameter"),
    "a tensor less": (tensors_with(bias=None), "tensor bias is missing"),
    "other factors": (tensors_with(**{"factors:left": torch.ones(6, 3)}), "do not fit"),
    "infinities": (tensors_with(bias=torch.full((7,), torch.inf)), "infinities or no numbers"),
    "whole numbers": (tensors_with(bias=torch.ones(7, dtype=torch.int32)), "expected floats"),
    "method of no text": (manifest_with(method=3), "method is 3"),
    "notes of no mapping": (manifest_with(notes="fine"), "looks like"),
    "edits of no list": (manifest_with(edits=3), "looks like"),
    "edit without version": (manifest_with(edits=[{"id": "e"}]), "version"),
    "edit of version 0": (manifest_with(edits=[{"id": "e", "version": 0}]), "a number from 1"),
    "edit of version true": (manifest_with(edits=[{"id": "e", "version": True}]), "from 1"),
    "edit without id": (manifest_with(edits=[{"id": "", "version": 1}]), "expected a text"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_is_refused(damage: str, tmp_path: Path) -> None:
    folder = made().save(tmp_path / "d")
    harm, words = DAMAGES[damage]
    harm(folder)
    with pytest.raises((InvalidInputError, MissingResourceError), match=words) as caught:
        WeightDelta.load(folder)
    assert isinstance(caught.value, MemeditError) and str(folder) in str(caught.value)


def test_it_knows_its_model() -> None:
    model = tiny_model("llama")
    own = model_fingerprint(model)
    delta = WeightDelta({}, base=own)
    assert delta.check_base(model) == delta.check_base(own) == ""
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1
    with pytest.raises(InvalidInputError, match=f"{own[:12]}, this one has"):
        delta.check_base(model)
    assert own[:12] in delta.check_base(model, any_base=True)
    with pytest.raises(InvalidInputError, match="does not say for which model"):
        WeightDelta({}).check_base(model)
