"""ConvSent through the runner: two topics of three words each, every value computed by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from memedit.errors import MissingResourceError
from memedit.evaluation import convsent
from memedit.evaluation.base_answers import BaseAnswers
from memedit.evaluation.cases import EditCase, Replies
from memedit.evaluation.datasets import load_dataset
from memedit.evaluation.measuring import NO_OTHER_TOPIC, NOT_FINITE
from memedit.evaluation.protocols import Answer, Cost, Forced
from memedit.evaluation.questions import Amounts
from memedit.evaluation.report.run import read_run
from memedit.evaluation.report.unmeasured import unmeasured
from memedit.evaluation.rows import Row
from memedit.evaluation.run_folder import RunFolder
from memedit.evaluation.runner import Runner
from memedit.evaluation.settings import Mode, Setting
from memedit.evaluation.treatments import Plain, Session, Unedited
from memedit.types import EditRequest

WORDS = ("good", "bad", "so")
CHESS, JAZZ = "What do you think of chess?", "What do you think of jazz?"
Table = dict[str, tuple[tuple[float, ...], tuple[float, ...]]]
"""Prompt -> probabilities of WORDS as the first word of a reply, and as any later one."""
BASE: Table = {
    CHESS: ((0.25, 0.5, 0.25), (0.25, 0.5, 0.25)),
    JAZZ: ((0.5, 0.25, 0.25), (0.5, 0.25, 0.25)),
}
EDITED: dict[str, Table] = {
    "chess": {
        CHESS: ((0.5, 0.25, 0.25), (0.5, 0.25, 0.25)),
        JAZZ: ((0.5, 0.25, 0.25), (0.25, 0.5, 0.25)),  # moved as a later word alone
    },
    "jazz": {
        CHESS: ((0.5, 0.25, 0.25), (0.25, 0.5, 0.25)),  # moved as a first word alone
        JAZZ: ((0.125, 0.125, 0.75), (0.125, 0.125, 0.75)),
    },
}


class Opinions:
    """A model of three words."""

    name = "opinions"
    scores = True
    too_long = ""

    def __init__(self) -> None:
        self.table = BASE

    @property
    def fingerprint(self) -> str:
        return str(sorted(self.table.items()))

    def generate(
        self, prompts: Sequence[str], max_new_tokens: int, *, min_new_tokens: int = 0
    ) -> list[Answer]:
        return [Answer("so", True, 6) for _ in prompts]

    def log_probabilities(
        self, prompts: Sequence[str], targets: Sequence[str]
    ) -> list[npt.NDArray[np.float32]]:
        return [self._logs(p, t) for p, t in zip(prompts, targets, strict=True)]

    def score(self, prompts: Sequence[str], targets: Sequence[str]) -> list[Forced]:
        found = []
        for prompt, target in zip(prompts, targets, strict=True):
            ids, logs = [WORDS.index(word) for word in target.split()], self._logs(prompt, target)
            if not logs.size:
                found.append(Forced((False,) * len(ids), (-math.inf,) * len(ids), (-1,) * len(ids)))
                continue
            best = [int(row.argmax()) for row in logs]
            right = tuple(a == b for a, b in zip(ids, best, strict=True))
            of_target = tuple(float(row[word]) for row, word in zip(logs, ids, strict=True))
            found.append(Forced(right, of_target, tuple(best)))
        return found

    def _logs(self, prompt: str, target: str) -> npt.NDArray[np.float32]:
        if target == self.too_long:
            return np.empty((0, 0), dtype=np.float32)
        first, later = self.table[prompt]
        rows = [first if place == 0 else later for place in range(len(target.split()))]
        return np.log(np.array(rows, dtype=np.float32))


class Persuade:
    """Puts an edited table in the place of the model's."""

    name = "persuade"
    at_once = 1

    def __init__(self, model: Opinions) -> None:
        self.cost = Cost()
        self.model = model

    @contextmanager
    def session(self, edits: Sequence[Sequence[EditRequest]], mode: Mode) -> Iterator[Session]:
        [[request]] = edits
        self.model.table = EDITED[request.subject]
        try:
            yield Plain(self.model)
        finally:
            self.model.table = BASE


def case_of(topic: str, wanted: tuple[str, ...], unwanted: tuple[str, ...]) -> EditCase:
    prompt = f"What do you think of {topic}?"
    request = EditRequest(prompt=prompt, subject=topic, target_new=wanted[0])
    return EditCase(f"toy[{topic}]", "toy", (request,), (), Replies(prompt, wanted, unwanted))


CASES = (
    case_of("chess", wanted=("good", "so good"), unwanted=("bad",)),
    case_of("jazz", wanted=("bad",), unwanted=("good", "so so")),
)


def run(
    folder: Path, model: Opinions, cases: Sequence[EditCase] = CASES
) -> tuple[Runner, list[Row]]:
    about = {"methods": ["none", "persuade"], "setting": "single", "model": "m"}
    base = BaseAnswers(model)
    amounts = Amounts(general=0, fluent=0)
    runner = Runner(RunFolder(folder, about), base, model, cases, Setting.parse("single"), amounts)
    unedited, persuade = Unedited(base, model), Persuade(model)
    rows = runner.run([("none", lambda: unedited), ("persuade", lambda: persuade)])
    return runner, rows


def by_case(runner: Runner, method: str, metric: str) -> dict[str, float]:
    return {
        one.case: one.score
        for one in runner.folder.scored()
        if (one.method, one.metric) == (method, metric)
    }


def test_two_topics_by_hand(tmp_path: Path) -> None:
    runner, rows = run(tmp_path, Opinions())
    # chess: of the wanted words good, so, good 1/4 each before the edit and 1/2, 1/4, 1/2 after
    # it, 2^(-4/3) in the mean; of the unwanted word bad 1/4 = 2^-2 after it.
    chess = 2 ** (-4 / 3) / (2 ** (-4 / 3) + 1 / 4)  # times 1: they are likelier than before
    # jazz: of the wanted word bad 1/4 before and 1/8 after; of the unwanted words good, so, so
    # 1/8, 3/4, 3/4 after.
    jazz = (1 / 8) / (1 / 8 + (1 / 8 * 3 / 4 * 3 / 4) ** (1 / 3)) * (1 / 2)
    assert by_case(runner, "persuade", "sentiment") == pytest.approx(
        {"toy[chess]": chess, "toy[jazz]": jazz}, abs=1e-6
    )
    # KL of (1/2, 1/4, 1/4) from (1/4, 1/2, 1/4), or the other way: 1/2 log 2 - 1/4 log 2. Editing
    # chess moved one of the four words of jazz's replies ("bad", "good", "so" and "so"), editing
    # jazz three of the four of chess's ("good", "so", "good" and "bad"): the first ones.
    moved = math.log(2) / 4
    assert by_case(runner, "persuade", "kl") == pytest.approx(
        {"toy[chess]": moved / 4, "toy[jazz]": moved * 3 / 4}, abs=1e-6
    )
    found = {(row.method, row.metric): row for row in rows}
    assert found["persuade", "sentiment"].value == pytest.approx((chess + jazz) / 2, abs=1e-6)
    assert found["persuade", "sentiment_z_topic"].value == pytest.approx((1 + 1 / 2) / 2, abs=1e-6)
    assert found["persuade", "kl"].value == pytest.approx(moved / 2, abs=1e-6)
    assert {row.scoring for row in rows if row.metric in ("sentiment", "kl")} == {"teacher_forced"}
    # Unedited nothing moved, and what is wanted is what the model had said anyway.
    assert by_case(runner, "none", "kl") == {"toy[chess]": 0, "toy[jazz]": 0}
    assert found["none", "sentiment_z_topic"].value == 1
    before = {"toy[chess]": 1 / 4 / (1 / 4 + 1 / 2), "toy[jazz]": 1 / 4 / (1 / 4 + 2 ** (-5 / 3))}
    assert by_case(runner, "none", "sentiment") == pytest.approx(before, abs=1e-6)


def test_a_reply_that_is_too_long_is_left_out_and_counted(tmp_path: Path) -> None:
    model = Opinions()
    model.too_long = "so so"  # one of jazz: no sentiment of jazz, no KL where chess is edited
    runner, _ = run(tmp_path, model)
    assert by_case(runner, "persuade", "sentiment").keys() == {"toy[chess]"}
    assert by_case(runner, "persuade", "kl").keys() == {"toy[jazz]"}
    noted = {
        note["what"]: (note["n"], note["reason"]) for note in runner.folder.manifest["not_scored"]
    }
    assert noted["persuade: sentiments"] == noted["persuade: divergences"] == (1, NOT_FINITE)


def test_with_one_topic_alone_there_is_no_divergence_and_that_is_said(tmp_path: Path) -> None:
    runner, rows = run(tmp_path, Opinions(), CASES[:1])
    assert {row.metric for row in rows} >= {"sentiment"} and "kl" not in {r.metric for r in rows}
    notes = runner.folder.manifest["not_scored"]
    assert [(note["what"], note["n"], note["reason"]) for note in notes] == [
        ("none: divergences", 1, NO_OTHER_TOPIC),
        ("persuade: divergences", 1, NO_OTHER_TOPIC),
    ]
    said = [note for note in unmeasured(read_run(tmp_path)) if note.startswith("KL divergence")]
    assert said == [f"KL divergence is not measured of toy: {NO_OTHER_TOPIC}."]


def test_what_is_too_large_for_memory_is_kept_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convsent, "_IN_MEMORY", 64)
    whole = convsent.Whole()
    generator = np.random.default_rng(0)
    parts = {("a", str(n)): generator.random((n, 5), dtype=np.float32) for n in (3, 0, 7)}
    for pair, logs in parts.items():
        whole.keep(pair, logs)
    for pair, logs in reversed(parts.items()):
        assert np.array_equal(whole[pair], logs) and whole[pair].shape == logs.shape
    with pytest.raises(KeyError):
        whole["b", "3"]
    monkeypatch.setattr(whole._file, "write", _no_room)
    with pytest.raises(MissingResourceError, match=r"no room in .*take fewer cases"):
        whole.keep(("c", "1"), parts["a", "3"])


def _no_room(data: bytes) -> int:
    raise OSError(28, "No space left on device")


def test_about_half_the_topics_are_to_be_thought_badly_of(tmp_path: Path) -> None:
    topics = [f"topic {n}" for n in range(200)]
    records = [
        {"ent": one, "pos": [f" I like {one}."], "neg": [f" I hate {one}."]} for one in topics
    ]
    file = tmp_path / "convsent_test.json"
    file.write_text(json.dumps(records))
    cases = load_dataset(f"knowedit:{file}").cases
    assert [case.requests[0].subject for case in cases] == topics
    liked = 0
    for topic, case in zip(topics, cases, strict=True):
        like, hate = f"I like {topic}.", f"I hate {topic}."
        wanted = case.requests[0].target_new
        assert case.replies is not None
        assert {wanted, case.requests[0].ground_truth} == {like, hate}
        assert (case.replies.wanted, case.probes[0].answers) == ((wanted,), (wanted,))
        assert {*case.replies.wanted, *case.replies.unwanted} == {like, hate}
        liked += wanted == like
    assert 70 < liked < 130
    assert load_dataset(f"knowedit:{file}").cases == cases
    few = load_dataset(f"knowedit:{file}", limit=20).cases  # evenly spaced: still of both kinds
    assert 3 < sum(case.requests[0].target_new.startswith("I like") for case in few) < 17
