"""Every registered adapter as it lies on disk: read again it is what it was, or is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from memedit.adapters.catalog import ADAPTERS
from memedit.adapters.files import MANIFEST, load_adapter
from memedit.errors import InvalidInputError, MissingResourceError
from memedit.modeling.delta_files import file_sha256
from tests.contract.learned_adapters import (
    EDITS,
    REQUESTS,
    UNRELATED,
    copied,
    learned,
    logits,
    opened,
    prompts,
)
from tests.modeling.families import tiny_model


@pytest.fixture(params=ADAPTERS.names())
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_saved_and_loaded_it_gives_equal_logits(kind: str, tmp_path: Path) -> None:
    adapter, model, tokenizer = learned(kind, "gpt2")
    again = copied(adapter, tmp_path)
    assert again.edits == EDITS and again.held == adapter.held and again.config == adapter.config
    for prompt in (*prompts(), *UNRELATED):
        with adapter.attached(model):
            expected = logits(model, tokenizer, prompt)
        with again.attached(model):
            assert torch.equal(logits(model, tokenizer, prompt), expected)
    with pytest.raises(InvalidInputError, match="there already"):
        adapter.save(tmp_path / "saved")
    with pytest.raises(InvalidInputError, match="learned nothing"):
        opened(kind).save(tmp_path / "empty")


def test_another_base_is_refused(kind: str, tmp_path: Path) -> None:
    adapter, _, tokenizer = learned(kind, "llama")
    other = tiny_model("llama")
    with torch.no_grad():
        other.get_input_embeddings().weight[5] += 1
    again = copied(adapter, tmp_path)
    with pytest.raises(InvalidInputError, match="another model"), again.attached(other):
        pass
    with pytest.raises(InvalidInputError, match="another model"):
        again.learn(other, tokenizer, REQUESTS[:1])
    with again.attached(other, any_base=True):
        logits(other, tokenizer, prompts()[0])


def _changed(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    file = folder / manifest["file"]
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    manifest["sha256"] = file_sha256(file)
    manifest["tensors"] = {name: list(tensor.shape) for name, tensor in tensors.items()}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_bad_files_are_refused(kind: str, tmp_path: Path) -> None:
    adapter, _, _ = learned(kind, "llama")
    name = next(iter(adapter.to_saved().tensors))

    def no_number(tensors: dict[str, torch.Tensor]) -> None:
        tensors[name].view(-1)[0] = float("nan")

    def too_short(tensors: dict[str, torch.Tensor]) -> None:
        tensors[name] = tensors[name][:-1].clone()

    def lost(tensors: dict[str, torch.Tensor]) -> None:
        del tensors[name]

    for number, (change, reason) in enumerate(
        [(no_number, "no numbers"), (too_short, "saved adapter"), (lost, "saved adapter")]
    ):
        folder = adapter.save(tmp_path / str(number))
        _changed(folder, change)
        with pytest.raises(InvalidInputError, match=reason):
            load_adapter(folder)
    folder = adapter.save(tmp_path / "damaged")
    file = folder / json.loads((folder / MANIFEST).read_text())["file"]
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(InvalidInputError, match="damaged"):
        load_adapter(folder)
    (folder / MANIFEST).write_text('{"format": "memedit-adapter/99"}')
    with pytest.raises(InvalidInputError, match="memedit-adapter/99"):
        load_adapter(folder)
    with pytest.raises(MissingResourceError, match="no adapter at"):
        load_adapter(tmp_path / "nowhere")
