from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from memedit.adapters.vllm_plugin.checks import Kind, check_adapter, grace_book
from memedit.adapters.vllm_plugin.served_checkpoint import ServedCheckpoint, served_checkpoint
from memedit.adapters.vllm_plugin.settings import GraceSettings, Served
from memedit.errors import InvalidInputError, MissingResourceError
from memedit.modeling.delta import WeightDelta
from memedit.modeling.delta_files import file_sha256
from tests.adapters.vllm_plugin.folders import MODULE, WIDE, write_grace, write_lora

SERVED = Served(GraceSettings((1,), 8), 4)


@pytest.fixture
def base(tiny_checkpoint: Path) -> ServedCheckpoint:
    found = served_checkpoint(str(tiny_checkpoint))
    assert found is not None
    return found


def test_a_lora_that_fits_is_taken(tmp_path: Path, base: ServedCheckpoint) -> None:
    folder = write_lora(tmp_path / "a", manifest={"base": base.fingerprint})
    assert check_adapter(folder, base, SERVED) is Kind.LORA
    assert check_adapter(write_lora(tmp_path / "b"), base, SERVED) is Kind.LORA


def test_a_codebook_that_fits_is_taken(tmp_path: Path, base: ServedCheckpoint) -> None:
    folder = write_grace(tmp_path / "a", base=base.fingerprint)
    assert check_adapter(folder, base, SERVED) is Kind.GRACE
    book = grace_book(folder)
    assert (book.layer, tuple(book.table.keys.shape)) == (1, (3, 32))


def test_of_an_unknown_model_and_server_the_files_alone_are_checked(tmp_path: Path) -> None:
    assert check_adapter(write_lora(tmp_path / "a", "other.module", 99), None, None) is Kind.LORA
    assert check_adapter(write_grace(tmp_path / "b", layer=77), None, None) is Kind.GRACE
    assert served_checkpoint("org/model-on-a-hub") is None


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"rank": 5}, "takes at most 4; start vLLM with --max-lora-rank 5"),
        ({"config": {"peft_type": "IA3"}}, "peft_type is 'IA3'"),
        ({"config": {"r": 0}}, "its ranks are"),
        ({"config": {"rank_pattern": {"x": 8}}}, "its rank is 8"),
        ({"config": {"use_dora": True}}, "use_dora is True"),
        ({"config": {"bias": "all"}}, "bias is 'all'"),
        ({"config": {"modules_to_save": ["lm_head"]}}, "modules_to_save"),
        ({"config": {"r": 1}, "rank": 5}, "has the rank 5|its ranks are"),
        ({"a": torch.full((2, WIDE), torch.inf)}, "infinities"),
        ({"a": torch.full((2, WIDE), torch.nan)}, "no numbers"),
        ({"a": torch.ones(3, WIDE)}, "expected A"),
        ({"a": torch.ones(2, WIDE, dtype=torch.int32)}, "expected floats"),
        ({"a": torch.ones(2, WIDE - 1)}, "another model"),
        ({"module": "model.layers.9.mlp.down_proj"}, "the served model has no"),
        ({"manifest": {"base": "b" * 64}}, "fingerprint bbbbbbbbbbbb"),
        ({"manifest": {"sha256": "0" * 64}}, "is damaged"),
    ],
)
def test_a_lora_that_does_not_fit_is_refused(
    tmp_path: Path, base: ServedCheckpoint, said: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        check_adapter(write_lora(tmp_path / "a", **said), base, SERVED)


def test_broken_files_are_refused(tmp_path: Path, base: ServedCheckpoint) -> None:
    folder = write_lora(tmp_path / "a")
    tensors = folder / "adapter_model.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-8])
    with pytest.raises(InvalidInputError, match="no whole safetensors file"):
        check_adapter(folder, base, SERVED)
    tensors.unlink()
    with pytest.raises(MissingResourceError, match="is not there"):
        check_adapter(folder, base, SERVED)
    (folder / "adapter_config.json").write_text("[1]")
    with pytest.raises(InvalidInputError, match="is list; expected an object"):
        check_adapter(folder, base, SERVED)
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(InvalidInputError, match="is no JSON"):
        check_adapter(folder, base, SERVED)


def test_a_manifests_checksum_is_looked_at(tmp_path: Path, base: ServedCheckpoint) -> None:
    folder = write_lora(tmp_path / "a")
    said = {"sha256": file_sha256(folder / "adapter_model.safetensors")}
    (folder / "manifest.json").write_text(json.dumps(said))
    assert check_adapter(folder, base, SERVED) is Kind.LORA


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"layer": 0}, r"looks at layer 0.*\"grace_layers\": \[0, 1\]"),
        ({"entries": 9}, r"has 9 entries.*\"grace_capacity\": 16"),
        ({"width": 40}, "keys have 40 numbers, the model's states 32"),
        ({"base": "c" * 64}, "fingerprint cccccccccccc"),
    ],
)
def test_a_codebook_that_does_not_fit_is_refused(
    tmp_path: Path, base: ServedCheckpoint, said: dict[str, Any], reason: str
) -> None:
    said = {"base": base.fingerprint} | said
    with pytest.raises(InvalidInputError, match=reason):
        check_adapter(write_grace(tmp_path / "a", **said), base, SERVED)


def test_what_is_no_adapter_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InvalidInputError, match="there is neither"):
        check_adapter(empty, None, None)
    delta = WeightDelta({f"{MODULE}.weight": torch.ones(2, 2)}).save(tmp_path / "delta")
    with pytest.raises(InvalidInputError, match="PUT /v1/memedit/weights"):
        check_adapter(delta, None, None)
    grace = write_grace(tmp_path / "grace")
    manifest = json.loads((grace / "manifest.json").read_text())
    (grace / "manifest.json").write_text(json.dumps(manifest | {"method": "melo"}))
    with pytest.raises(InvalidInputError, match="'melo' is not served as it is saved"):
        check_adapter(grace, None, None)
