"""Adapters that a request names, in a real vLLM: as in transformers, or refused with a reason."""

from __future__ import annotations

import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from memedit import EditRequest
from memedit.adapters import load_adapter, open_adapter
from tests.e2e.plugged import CAPACITY, RANK, PluggedVllm, write_lora
from tests.e2e.plugin_reference import CLOSE, EDITS, Reference, factors_of
from tests.e2e.stack import VLLM_PYTHON, missing_for_vllm
from tests.e2e.wires import CHAT, MESSAGES, RESPONSES, send

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1800)]


def refused(plugged: PluggedVllm, name: str, status: int = 400) -> str:
    reply = plugged.complete([5, 6, 7], name)
    assert reply.status == status, (name, reply.status, reply.body)
    return str(reply.json()["error"]["message"])


def test_each_way_says_what_transformers_says(plugged: PluggedVllm, reference: Reference) -> None:
    for name in reference.ways:
        for ids in reference.prompts:
            reference.check(plugged.said(ids, name), name)


def test_a_codebook_changes_its_own_prompts_and_no_others(
    plugged: PluggedVllm, reference: Reference
) -> None:
    for edit, ids in zip(EDITS, reference.prompts, strict=False):
        whole = reference.ids(f"{edit.prompt} {edit.target_new}")
        said = plugged.said(ids, "memedit-grace-1", len(whole) - len(ids))
        assert [*ids, *said.tokens] == whole
    for ids in reference.prompts[len(EDITS) :]:
        assert plugged.said(ids, "memedit-grace-1") == plugged.said(ids)


def test_batches_mix_codebooks_loras_and_the_model_itself(
    plugged: PluggedVllm, reference: Reference
) -> None:
    asked = [(ids, name) for ids in reference.prompts for name in reference.ways]
    for turn in range(3):
        shifted = asked[turn:] + asked[:turn]
        for said, (_, name) in zip(plugged.together(shifted, 8), shifted, strict=True):
            reference.check(said, name)


@pytest.mark.parametrize("wire", [CHAT, RESPONSES, MESSAGES], ids=lambda wire: wire.name)
def test_every_wire_names_an_adapter(plugged: PluggedVllm, wire: Any) -> None:
    body = wire.body("The capital of Valdoria is", tokens=3)
    assert send(plugged.url, "POST", wire.path, body | {"model": "memedit-lora-1"}).status == 200
    gone = send(plugged.url, "POST", wire.path, body | {"model": "memedit-gone-1"})
    assert gone.status == 404


def test_an_edit_taken_out_has_the_models_answer_again(
    plugged: PluggedVllm, reference: Reference
) -> None:
    adapter = load_adapter(reference.library / "memedit-grace-1")
    adapter.delete(adapter.edits[0].id)
    adapter.save(reference.library / "memedit-grace-2")
    first, *others = reference.prompts
    assert plugged.said(first, "memedit-grace-2") == plugged.said(first)
    for ids in others:
        assert plugged.said(ids, "memedit-grace-2") == plugged.said(ids, "memedit-grace-1")


def test_a_hundred_adapters_share_four_slots(
    plugged: PluggedVllm, reference: Reference, unharmed: None
) -> None:
    deltas = [reference.low_rank(100 + n, (6,), 1) for n in range(100)]
    names = [f"memedit-many-{n + 1}" for n in range(100)]
    for name, delta in zip(names, deltas, strict=True):
        write_lora(reference.library / name, factors_of(delta))
    ids = reference.prompts[3]
    saids = []
    for start in range(0, 100, 10):
        saids += plugged.together([(ids, name) for name in names[start : start + 10]], 3)
    assert len({said.logprobs for said in saids}) > 90
    for said, delta in zip(saids[::9], deltas[::9], strict=True):
        with delta.applied(reference.model):
            assert said.worst(reference.model) < CLOSE


def test_what_is_no_name_or_is_not_there_is_refused(
    plugged: PluggedVllm, reference: Reference, unharmed: None
) -> None:
    outside = reference.library.parent / "memedit-outside-1"
    if not outside.exists():
        shutil.copytree(reference.library / "memedit-lora-1", outside)
    (reference.library / "memedit-link-1").symlink_to(outside)
    assert "no 'memedit-nothing-1'" in refused(plugged, "memedit-nothing-1", 404)
    assert "leads out of" in refused(plugged, "memedit-link-1")
    for name in ("memedit-../../etc-1", "memedit-/etc/passwd-1", f"memedit-../{outside.name}"):
        assert "is no name" in refused(plugged, name)
    assert "does not exist" in refused(plugged, str(outside), 404)


def test_what_is_damaged_or_does_not_fit_is_refused_with_its_reason(
    plugged: PluggedVllm, reference: Reference, unharmed: None
) -> None:
    library = reference.library
    one = reference.low_rank(9, (2,), 1)
    [(module, (a, b))] = factors_of(one).items()
    wide = torch.ones(RANK + 1, a.shape[1]), torch.ones(b.shape[0], RANK + 1)
    for name, factors, reason in (
        ("memedit-nan-1", {module: (a, b * torch.nan)}, "no numbers"),
        ("memedit-rank-1", {module: wide}, "--max-lora-rank"),
        ("memedit-short-1", {module: (a[:, :-1].contiguous(), b)}, "another model"),
        ("memedit-layer-1", {module.replace(".2.", ".99."): (a, b)}, "the served model has no"),
    ):
        write_lora(library / name, factors)
        assert reason in refused(plugged, name), name
    cut = write_lora(library / "memedit-cut-1", {module: (a, b)}) / "adapter_model.safetensors"
    cut.write_bytes(cut.read_bytes()[:-9])
    assert "no whole safetensors file" in refused(plugged, "memedit-cut-1")
    (write_lora(library / "memedit-bare-1", {module: (a, b)}) / cut.name).unlink()
    assert "is not there" in refused(plugged, "memedit-bare-1")
    one.save(library / "memedit-delta-1")
    assert "weight delta" in refused(plugged, "memedit-delta-1")
    (library / "memedit-empty-1").mkdir()
    assert "neither" in refused(plugged, "memedit-empty-1")


def test_codebooks_that_do_not_fit_are_refused_with_their_reason(
    plugged: PluggedVllm, reference: Reference, unharmed: None
) -> None:
    library = reference.library

    def changed(name: str, tensors: bool = False, **said: Any) -> str:
        folder = shutil.copytree(library / "memedit-grace-1", library / name)
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps(manifest | said))
        if tensors:
            kept = load_file(folder / "adapter.safetensors")
            kept["values"] = kept["values"] + 1
            save_file(kept, folder / "adapter.safetensors")
        return refused(plugged, name)

    assert "fingerprint" in changed("memedit-foreign-1", base="0" * 64)
    said = changed("memedit-deep-1", layer=6)
    assert "looks at layer 6" in said and '"grace_layers": [2, 3, 6]' in said
    assert "damaged" in changed("memedit-damaged-1", tensors=True)
    assert "'melo' is not served" in changed("memedit-melo-1", method="melo")
    adapter = open_adapter("grace", {"layer": 2, "radius": 0.01, "search": {"steps": 1}})
    many = [
        EditRequest(prompt=f"The {n}th town is", subject=f"{n}th", target_new=" Ada")
        for n in range(CAPACITY + 1)
    ]
    adapter.learn(reference.model, reference.tokenizer, many)
    adapter.save(library / "memedit-large-1")
    assert '"grace_capacity": 32' in refused(plugged, "memedit-large-1")


def test_a_version_that_was_changed_is_refused(
    plugged: PluggedVllm, reference: Reference, unharmed: None
) -> None:
    ids, name = reference.prompts[3], "memedit-changing-1"
    write_lora(reference.library / name, factors_of(reference.low_rank(30)))
    plugged.said(ids, name)
    body = {"lora_name": name}
    assert send(plugged.url, "POST", "/v1/unload_lora_adapter", body).status == 200
    shutil.rmtree(reference.library / name)
    write_lora(reference.library / name, factors_of(reference.low_rank(31)))
    assert "another content is another version" in refused(plugged, name)


@pytest.mark.parametrize("harm", ["cut", "overwritten", "replaced"])
def test_an_adapter_that_was_harmed_after_it_was_put_out_is_refused(
    plugged: PluggedVllm, reference: Reference, unharmed: None, harm: str
) -> None:
    """Else vLLM would read it again in a step of the batch, and the model alone would answer."""
    ids, name = reference.prompts[3], f"memedit-harmed-{harm}-1"
    folder = write_lora(reference.library / name, factors_of(reference.low_rank(50)))
    tensors = folder / "adapter_model.safetensors"
    before, whole = plugged.said(ids, name), tensors.read_bytes()
    assert before != plugged.said(ids)
    plugged.together([(ids, other) for other in list(reference.ways)[1:]], 2)  # takes all slots
    if harm == "replaced":
        other = write_lora(folder.parent / "other", factors_of(reference.low_rank(51)))
        tensors.write_bytes((other / tensors.name).read_bytes())
        shutil.rmtree(other)
        expected = "another content is another version"
    else:
        tensors.write_bytes(whole[:-9] if harm == "cut" else b"\xff" * len(whole))
        expected = "no whole safetensors file"
    for _ in range(2):
        said = refused(plugged, name)
        assert f"the adapter '{name}' cannot be served" in said and expected in said
    tensors.write_bytes(whole)
    assert plugged.said(ids, name) == before, "what was put back is served again"


def test_an_adapter_that_is_deleted_while_it_is_used_ends_nothing(
    plugged: PluggedVllm, reference: Reference, unharmed: None
) -> None:
    """Its folder goes in the middle of an answer, and its slot is wanted by others."""
    ids, name = reference.prompts[3], "memedit-going-1"
    write_lora(reference.library / name, factors_of(reference.low_rank(40)))
    plugged.said(ids, name)
    others = [(ids, f"memedit-many-{n}") for n in range(60, 72)]
    for _, other in others:
        if not (reference.library / other).exists():
            write_lora(reference.library / other, factors_of(reference.low_rank(41)))
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(plugged.complete, ids, name, 150) for _ in range(4)]
        shutil.rmtree(reference.library / name)
        plugged.together(others, 3)
        assert {reply.result().status for reply in running} <= {200, 404}
    assert "no 'memedit-going-1'" in refused(plugged, name, 404)


def test_rows_without_a_lora_get_none_on_cpus() -> None:
    """vLLM's own kernels, with the fix and without, so that it shows when none is needed."""
    if missing_for_vllm() is not None:
        pytest.skip(str(missing_for_vllm()))
    program = """
import torch
from vllm.lora.punica_wrapper import punica_cpu as cpu
from memedit.adapters.vllm_plugin.cpu_lora import fix_base_rows
weights, rows = torch.ones(2, 1, 4, 1), torch.tensor([-1, 0, 1])
def added():
    out = torch.zeros(3, 4)
    cpu.bgmv_expand(torch.ones(3, 1), weights, out, rows, True)
    one = torch.zeros(3, 8)
    cpu.bgmv_expand_slice(torch.ones(3, 1), weights, one, rows, 4, 4, True)
    return out.sum(1).tolist() + one.sum(1).tolist()
print(added())
fix_base_rows(), fix_base_rows()
print(added())
"""
    done = subprocess.run(
        [VLLM_PYTHON, "-c", program], capture_output=True, text=True, check=True, cwd="/"
    )
    flawed, fixed = done.stdout.splitlines()[-2:]
    assert flawed == "[4.0, 4.0, 4.0, 4.0, 4.0, 4.0]"
    assert fixed == "[0.0, 4.0, 4.0, 0.0, 4.0, 4.0]"
