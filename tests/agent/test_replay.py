"""Gold decompositions through retrieval and scope, without a model."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import typer

from memedit.cli.replay import replay_chains
from memedit.config import Settings
from memedit.errors import DatasetError
from memedit.evaluation.chains import Outcome, count_chains, read_chains, score_chain
from memedit.scope.base import Encoder
from tests.agent.chains import DECOMPOSING

LANGUAGES = {"Marovia": "Marovian", "Quendoria": "Old Quend", "Norland": "Norse"}


def hop(question: str, cloze: str, answer: str) -> dict[str, Any]:
    return {"question": question, "cloze": cloze, "answer": answer, "answer_alias": []}


def case(number: int, place: str, old: str, new: str) -> dict[str, Any]:
    """Moves a place to another country, and asks for the language spoken there."""
    where = f"Which country is {place} located in?"
    spoken = hop(
        f"What is the official language of {new}?",
        f"The official language of {new} is",
        LANGUAGES[new],
    )
    return {
        "case_id": number,
        "requested_rewrite": [
            {
                "prompt": "{} is located in the country of",
                "subject": place,
                "target_new": {"str": new},
                "target_true": {"str": old},
                "question": where,
            }
        ],
        "questions": [f"What is the official language of the country where {place} is located?"],
        "new_answer": LANGUAGES[new],
        "new_answer_alias": [],
        "new_single_hops": [
            hop(where, f"{place} is located in the country of", new),
            spoken,
        ],
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    cases = [
        case(1, "the Iron Bridge", "England", "Marovia"),
        case(2, "the Brandenburg Gate", "Germany", "Quendoria"),
        case(3, "Mount Ferren", "Peru", "Norland"),
    ]
    # another case says that something else is spoken in Norland: case 3 is corrupted
    cases.append(case(4, "the Iron Bridge", "England", "Marovia"))
    cases[3]["requested_rewrite"].append(
        {
            "prompt": "The official language of {} is",
            "subject": "Norland",
            "target_new": {"str": "Esperanto"},
            "target_true": {"str": "Norse"},
            "question": "What is the official language of Norland?",
        }
    )
    path = tmp_path / "mquake.json"
    path.write_text(json.dumps(cases), encoding="utf-8")
    return path


def test_gold_chains_are_read_with_what_a_model_without_edits_says(file: Path) -> None:
    chains = read_chains(file)
    assert [chain.id for chain in chains] == ["1", "2", "3", "4"]
    first = chains[0]
    assert [(hop.own, hop.edited) for hop in first.hops] == [("England", True), ("Marovian", False)]
    assert [chain.id for chain in chains if chain.conflicts] == ["3"]
    [conflict] = chains[2].conflicts
    assert (conflict.expected, conflict.target, conflict.case) == ("Norse", "Esperanto", "4")


@pytest.mark.parametrize("content", ["[]", "{}", '[{"case_id": 1}]', "nothing", '[{"a": '])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "odd.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DatasetError):
        read_chains(path)


def test_the_first_mistake_of_a_chain_is_named(file: Path) -> None:
    [chain, *_] = read_chains(file)
    right = [("Marovia", True), ("Marovian.", False)]
    outcomes = {
        "right": score_chain(chain, right, "marovian"),
        "missed": score_chain(chain, [("England", False), right[1]], "English"),
        "wrong_edit": score_chain(chain, [("Peru", True), right[1]], "Marovian"),
        "false_alarm": score_chain(chain, [right[0], ("Norse", True)], "Norse"),
        "broken_off": score_chain(chain, right, None),
    }
    assert {name: score.outcome.value for name, score in outcomes.items()} == {
        name: name for name in outcomes
    }
    assert score_chain(chain, right[:1], "Marovian").outcome is Outcome.BROKEN_OFF
    whole = count_chains(list(outcomes.values()))[-1]
    assert (whole.n, whole.right) == (5, 0.2)


@pytest.mark.parametrize("method", DECOMPOSING)
@pytest.mark.parametrize("single", [False, True])
def test_chains_are_replayed_through_memory_and_router(
    file: Path, method: str, single: bool, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memedit.scope.encoder.open_encoder", lambda settings: encoder)
    chains = read_chains(file)
    scores = replay_chains(chains, chains, method, Settings(), single=single, rephrases=True)
    outcomes = [score.outcome for score in scores]
    corrupted = Outcome.RIGHT if single else Outcome.FALSE_ALARM
    assert outcomes == [Outcome.RIGHT, Outcome.RIGHT, corrupted, Outcome.RIGHT]


@pytest.mark.data
@pytest.mark.parametrize("method", DECOMPOSING)
def test_a_sample_of_mquake(method: str, encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mechanics and a floor; ``memedit replay`` over the whole file gives the numbers."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    path = Path(os.environ.get("MEMEDIT_DATA") or beside) / "mquake" / "mquake_cf_3k_dev.json"
    if not path.is_file():
        pytest.skip(f"no {path}; MEMEDIT_DATA names another folder")
    monkeypatch.setattr("memedit.scope.encoder.open_encoder", lambda settings: encoder)
    sample = read_chains(path)[::125]  # 12 chains of 2, 3 and 4 hops
    scores = replay_chains(sample, sample, method, Settings(), single=False, rephrases=True)
    assert {len(score.chain.hops) for score in scores} == {2, 3, 4}
    sound = [score for score in scores if not score.chain.conflicts]
    assert sum(score.outcome is Outcome.RIGHT for score in sound) / len(sound) >= 0.6
    assert not [score for score in scores if score.outcome is Outcome.BROKEN_OFF]


def test_a_method_that_takes_nothing_apart_is_refused(file: Path) -> None:
    chains = read_chains(file)
    with pytest.raises(typer.BadParameter, match="mello or pokemqa"):
        replay_chains(chains, chains, "rewrite", Settings(), single=False, rephrases=True)
