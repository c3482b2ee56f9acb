"""memedit locate: a trace, a proposal, where it is kept, a plot."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memedit.engine.loading import load_model
from memedit.modeling.fingerprint import model_fingerprint
from memedit.modeling.locate import Site, load_site, save_site
from tests.cli.conftest import Run

FACTS: list[Any] = [
    {"prompt": "The mayor of Paris is", "subject": "Paris", "ground_truth": [["Anne", "A."]]},
    {"prompt": "Who leads Lyon?", "subject": "Lyon", "ground_truth": "Bruno"},
    {"prompt": "Rome is in", "subject": "Rome", "attribute": "Italy"},
    {"prompt": "Nobody is in", "subject": "Atlantis", "attribute": "water"},
    {"prompt": "Bern is in", "subject": "Bern", "target_new": "Italy"},
]
ALL_KNOWN = ("--threshold", "0", "--samples", "1")


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    file = tmp_path / "facts.json"
    file.write_text(json.dumps(FACTS))
    return file


def test_it_proposes_layers_and_keeps_them(
    run: Run, tiny_checkpoint: Path, facts: Path, tmp_path: Path
) -> None:
    cache, plot = tmp_path / "sites", tmp_path / "trace.svg"
    ran = run(
        *("locate", tiny_checkpoint, "--prompts", facts, "--cache", cache, "--plot", plot),
        *(*ALL_KNOWN, "--keep", "--json"),
    )
    assert ran.code == 0, ran.err
    found = ran.json
    trace, site = found["trace"], found["site"]
    assert (trace["asked"], trace["known"], len(found["unread"])) == (4, 3, 1)
    assert "Atlantis" in trace["skipped"][0]["reason"]
    assert "attribute or ground_truth" in found["unread"][0]["reason"]
    mlp = [
        c["effect"] for c in trace["cells"] if (c["kind"], c["position"]) == ("mlp", "subject_last")
    ]
    assert site["layer"] == mlp.index(max(mlp)) and site["effects"] == mlp
    kept = load_site(site["fingerprint"], cache)
    assert (
        kept is not None and kept.layer == site["layer"] and found["stored"].startswith(str(cache))
    )
    assert "<svg" in plot.read_text()


def test_the_table_says_what_was_traced_and_where_it_is_kept(
    run: Run, tiny_checkpoint: Path, facts: Path, tmp_path: Path
) -> None:
    arguments = ("locate", tiny_checkpoint, "--prompts", facts, *ALL_KNOWN, "--limit", 2, "--keep")
    ran = run(*arguments, env={"XDG_CACHE_HOME": str(tmp_path / "cache")})
    assert ran.code == 0, ran.err
    assert "2 of 2 facts traced" in ran.out and "hidden" in ran.out and "mlp" in ran.out
    assert "brings back" in ran.out and "95%" in ran.out and "that noise takes" in ran.out
    assert "from 2 of the 2 facts noise takes less than 0.1" in ran.out, "a random model"
    assert "the next, layer" in ran.out and "the choice is not sure" in ran.out
    assert f"kept in {tmp_path / 'cache' / 'memedit' / 'sites'}" in " ".join(ran.out.split("\n"))


@pytest.fixture
def edited(run: Run, tiny_checkpoint: Path, tmp_path: Path) -> Callable[..., Any]:
    """Measure ft-m, and return which layers it edited, where that is from, and what was said."""
    file = tmp_path / "edits.json"
    fact = {"prompt": "Bern is in", "subject": "Bern", "target_new": "Italy"}
    file.write_text(json.dumps([fact]))
    few = ("--max-tokens", 2, "--fluency", 0, "--general", 0, "--analysis", 0, "--method", "ft-m")

    def measure(folder: str, *more: object, env: dict[str, str]) -> Any:
        arguments = ("eval", "--model", tiny_checkpoint, "--dataset", f"knowedit:{file}", *few)
        ran = run(*arguments, "--report", tmp_path / folder, *more, env=env)
        assert ran.code == 0, ran.err
        manifest = json.loads((tmp_path / folder / "manifest.json").read_text())
        return manifest["layers"]["ft-m"], ran.err

    return measure


def test_what_it_proposes_is_where_baked_methods_edit(
    *,
    run: Run,
    edited: Any,
    tiny_checkpoint: Path,
    facts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("memedit.cli.locate._certainty", lambda trace, layer: ([], True))
    home = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    before, said = edited("before", env=home)
    assert before["from"] == "rule"
    assert f"ft-m edits layer {before['layers'][0]} (a rule: none was located)" in said
    ran = run("locate", tiny_checkpoint, "--prompts", facts, *ALL_KNOWN, "--json", env=home)
    assert ran.code == 0, ran.err
    layer = ran.json["site"]["layer"]
    after, said = edited("after", env=home)
    assert after == {"layers": [layer], "from": "located"}
    assert f"ft-m edits layer {layer} (located)" in said


def test_a_choice_that_is_not_sure_is_shown_and_not_kept(
    *, run: Run, edited: Any, tiny_checkpoint: Path, facts: Path, tmp_path: Path
) -> None:
    cache, home = tmp_path / "sites", {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    arguments = ("locate", tiny_checkpoint, "--prompts", facts, *ALL_KNOWN, "--cache", cache)
    ran = run(*arguments, env=home)
    assert ran.code == 0, ran.err
    assert "not kept, as it is not sure" in ran.out and "give --keep" in ran.out
    assert "baked methods go on with layer 0 (a rule)" in ran.out
    assert not cache.exists()
    as_json = run(*arguments, "--json", env=home).json
    assert as_json["stored"] is None and as_json["site"]["sure"] is False
    assert edited("rule", "--cache", cache, env=home)[0]["from"] == "rule"

    kept = run(*arguments, "--keep", "--json", env=home).json
    layer = kept["site"]["layer"]
    assert Path(kept["stored"]).parent == cache
    found, said = edited("kept", "--cache", cache, env=home)
    assert found == {"layers": [layer], "from": "located, not sure"}
    assert f"ft-m edits layer {layer} (located, not sure)" in said
    assert not (tmp_path / "cache" / "memedit" / "sites").exists(), "kept in --cache alone"
    assert edited("elsewhere", env=home)[0]["from"] == "rule", "without --cache: the user's own"
    baked = run(
        *("bake", "--method", "ft-m", "--model", tiny_checkpoint, "--cache", cache),
        *("--edits", tmp_path / "edits.json", "-f", "knowedit", "--into", tmp_path / "delta"),
        env=home,
    )
    assert baked.code == 0, baked.err
    assert f"layer {layer} (located, not sure)" in baked.out


def test_no_keep_keeps_nothing_even_where_it_is_sure(
    run: Run, tiny_checkpoint: Path, facts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memedit.cli.locate._certainty", lambda trace, layer: ([], True))
    arguments = (
        "locate",
        tiny_checkpoint,
        "--prompts",
        facts,
        *ALL_KNOWN,
        "--cache",
        tmp_path / "c",
    )
    ran = run(*arguments, "--no-keep")
    assert ran.code == 0 and "not kept; baked methods go on with layer" in ran.out
    assert not (tmp_path / "c").exists()


def test_layers_are_found_in_the_users_cache_where_the_one_that_is_named_has_none(
    edited: Any, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    own = model_fingerprint(load_model(tiny_checkpoint, dtype="auto", device="cpu").model)
    save_site(Site(1, (0, 1), "located", own), tmp_path / "cache" / "memedit" / "sites")
    home = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    found, _ = edited("out", "--cache", tmp_path / "answers", env=home)
    assert found == {"layers": [1], "from": "located"}


def test_without_prompts_it_says_what_to_give(run: Run, tiny_checkpoint: Path) -> None:
    ran = run("locate", tiny_checkpoint, "--json", env={"MEMEDIT_ATLASEDIT": "nowhere"})
    assert ran.code == 2
    assert "--prompts is missing" in ran.error["message"] and "known_1000" in ran.error["message"]


def test_without_prompts_it_takes_the_reference_models_facts(
    run: Run, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    ran = run(
        *("locate", tiny_checkpoint, "--cache", tmp_path, "--limit", "3", *ALL_KNOWN, "--json"),
    )
    assert ran.code == 0, ran.err
    assert ran.json["trace"]["asked"] == 3


def test_the_reference_model_recalls_its_facts_below_the_middle(
    run: Run, repository: Path, tmp_path: Path
) -> None:
    """For real: its own facts, of which noise on the subject leaves next to nothing.

    Fewer will not do: from 6 facts under one draw of noise the largest effect is layer 0's.
    """
    atlas = repository / "examples/atlas/model"
    if not (atlas / "model.safetensors").exists():
        pytest.skip("examples/atlas/model is not there yet")
    ran = run("locate", atlas, "--cache", tmp_path, "--limit", 20, "--json")
    assert ran.code == 0, ran.err
    trace, site = ran.json["trace"], ran.json["site"]
    assert trace["known"] >= 15
    assert trace["clean"]["mean"] > 0.8 and trace["corrupted"]["mean"] < 0.3
    cells = {(c["kind"], c["position"], c["layer"]): c["effect"] for c in trace["cells"]}
    last = trace["n_layers"] - 1
    assert 0 < site["layer"] <= last // 2 + 1, "where the subject is read, not where it is said"
    assert cells["mlp", "subject_last", site["layer"]] > 0.02
    # Two ends that are known beforehand: the last block's state at the last token is the answer,
    # and nothing reads the last layer at a token before that.
    assert cells["hidden", "prompt_last", last] == pytest.approx(
        trace["clean"]["mean"] - trace["corrupted"]["mean"], abs=1e-3
    )
    assert cells["mlp", "subject_last", last] == pytest.approx(0, abs=1e-4)
    # Early on the fact is at the subject, later at the end of the prompt.
    assert cells["hidden", "subject_last", 1] > cells["hidden", "prompt_last", 1] + 0.05
    assert cells["hidden", "subject_last", last - 1] < cells["hidden", "prompt_last", last - 1]


def test_what_cannot_be_used_is_said_before_anything_is_kept(
    run: Run, tiny_checkpoint: Path, facts: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "sites"
    common = ("locate", tiny_checkpoint, "--cache", cache, "--json")
    for arguments, words in (
        (("--prompts", facts, "--plot", "trace.gif"), "end its name in .svg"),
        (("--prompts", facts, "--plot", tmp_path / "no" / "t.svg"), "is not there to draw"),
        (("--prompts", facts, "--window", "5", *ALL_KNOWN), "1 to 2 layers"),
        (("--prompts", facts, "--dtype", "float99"), "unknown dtype"),
    ):
        ran = run(*common, *arguments)
        assert ran.code == 2 and words in ran.error["message"], ran.err
    for arguments, words in (
        (("--prompts", tmp_path / "none.json"), "cannot read"),
        (("--prompts", facts, "--threshold", "1"), "can be traced"),
    ):
        ran = run(*common, *arguments)
        assert ran.code == 1 and words in ran.error["message"], ran.err
    empty = tmp_path / "empty.json"
    empty.write_text('[{"prompt": "x"}]')
    assert "no fact to trace" in run(*common, "--prompts", empty).error["message"]
    empty.write_text("{}")
    assert "expected a JSON list" in run(*common, "--prompts", empty).error["message"]
    assert not cache.exists()
