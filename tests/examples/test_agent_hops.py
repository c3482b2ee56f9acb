"""An agent's answers by hops: what counts as right, and which cases contradict each other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from examples import agent_hops
from examples.agent_hops import contradicted, counted, edits_of, spread
from memedit.agent import Ended, Trace
from memedit.evaluation.chains import GoldChain, GoldHop, read_chains
from memedit.types import EditRequest
from tests.live_server import LiveServer

ATLAS = Path(agent_hops.__file__).parent / "atlas" / "model"


def chain(number: int, *hops: tuple[str, str, bool], edits: tuple[EditRequest, ...]) -> GoldChain:
    gold = tuple(GoldHop(q, frozenset(), (a,), a, edited) for q, a, edited in hops)
    return GoldChain(str(number), "?", gold, (hops[-1][1],), edits)


def capital(target: str) -> EditRequest:
    return EditRequest(
        prompt="The capital of Marovia is", subject="Marovia", target_new=target,
        ground_truth="Ostby",
    )  # fmt: skip


ASKED = "What is the capital of Marovia?"


def test_a_case_is_contradicted_by_other_edits_of_its_hops_alone() -> None:
    one, other = capital("Lindhaven"), capital("Velden")
    edited = chain(
        1, (ASKED, "Lindhaven", True), ("Whose is Lindhaven?", "Ina", False), edits=(one,)
    )
    assert not contradicted(edited, [one]) and contradicted(edited, [one, other])
    unedited = chain(2, (ASKED, "Ostby", False), edits=())
    assert contradicted(unedited, [one])
    elsewhere = chain(3, ("What is the currency of Marovia?", "the mark", False), edits=())
    assert not contradicted(elsewhere, [one, other])


def test_shares_are_of_all_cases_and_of_the_sound_ones() -> None:
    two = chain(1, ("a", "A", True), ("b", "B", False), edits=())
    rows = [
        (two, Trace("?", "pokemqa", Ended.FINAL_ANSWER, "B."), False),
        (two, Trace("?", "pokemqa", Ended.HOP_LIMIT), True),
    ]
    everything, sound = counted(rows)
    assert (everything["n"], everything["right"]) == (2, 0.5)
    assert (sound["n"], sound["right"]) == (1, 1.0) and sound["hops"] == 2


def test_a_limit_takes_as_many_of_every_number_of_hops() -> None:
    chains = read_chains(agent_hops.FILE)
    taken = spread(chains, 3)
    assert sorted(len(one.hops) for one in taken) == [2] * 3 + [3] * 3 + [4] * 3
    assert spread(chains, None) == sorted(chains, key=lambda one: len(one.hops))
    assert len(edits_of(chains)) > 600


@pytest.mark.skipif(not (ATLAS / "model.safetensors").exists(), reason="no checkpoint")
def test_questions_go_through_the_engine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from memedit.engine.app import create_engine_app
    from memedit.engine.loading import load_model

    cases = json.loads(agent_hops.FILE.read_text(encoding="utf-8"))[:2]
    file = tmp_path / "cases.json"
    file.write_text(json.dumps(cases), encoding="utf-8")
    with LiveServer(create_engine_app(load_model(ATLAS, name="atlas", device="cpu"))) as server:
        agent_hops.main([str(file), "--url", server.url, "--json"])
    said = json.loads(capsys.readouterr().out)
    everything = [row for row in said["rows"] if row["cases"] == "all"]
    assert sum(row["n"] for row in everything) == 2
    assert len(said["wrong"]) == sum(round(row["n"] * (1 - row["right"])) for row in everything)
