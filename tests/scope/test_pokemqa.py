"""PokeMQA's detector: what stays, what is picked, what it learns from, a run that goes on."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memedit.errors import DatasetError, InvalidInputError, MissingResourceError
from memedit.scope.base import ScopeInput
from memedit.scope.checkpoint import find_checkpoint
from memedit.scope.platt import fit_platt
from memedit.scope.pokemqa import (
    DISAMBIGUATOR,
    SETTINGS,
    TOKENIZER,
    PokemqaScope,
    PokemqaSettings,
    Stages,
    stated,
)
from memedit.scope.predetector import Predetector
from memedit.scope.split import held_out_subject
from memedit.scope.training import pokemqa as training
from memedit.scope.training.edit_questions import read_edit_questions
from memedit.scope.training.facts import Asked, Fact
from memedit.scope.training.fine_tune import Recipe
from memedit.scope.training.pokemqa import PokemqaRecipe, train_pokemqa
from memedit.scope.training.predetect import NearRecipe, train_predetector
from memedit.scope.training.scope_data import disambiguator_pairs, split_facts
from memedit.scope.training.trials import Trial, measured, settled, trials_of
from memedit.types import Candidate, Edit, EditRequest, QueryText, ScopeLabel
from tests.routing.tiny_memory import edit
from tests.scope.conftest import tiny_bert
from tests.scope.pokemqa_facts import FILES, facts, written


class Words:
    """A direction per word: texts are near whose words are the same."""

    dim = 256
    fingerprint = "words/256/torch"

    def encode(self, texts: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
        rows = np.zeros((len(texts), self.dim), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in text.lower().strip("?.").split():
                row[zlib.crc32(word.encode()) % self.dim] += 1
            row /= max(np.linalg.norm(row), 1e-9)
        return rows


class Said:
    """A second stage that says what it is told, and what it was asked."""

    def __init__(self, **logits: float) -> None:
        self.logits_of = logits
        self.asked: list[tuple[str, str]] = []

    def logits(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray[Any, Any]:
        self.asked += pairs
        rows = [
            [self.logits_of.get(told.split()[-1].strip("."), -9.0), 50.0, 0.0] for _, told in pairs
        ]
        return np.array(rows, np.float32).reshape(len(rows), 3)


@pytest.fixture
def detector(tmp_path: Path) -> PokemqaScope:
    return PokemqaScope(Words(), written(tmp_path, Words()))


def asked(text: str, *edits: Edit) -> ScopeInput:
    return ScopeInput(QueryText(text), tuple(Candidate(one, 0.5, one.statement) for one in edits))


ROME = edit("Ada Lovelace now lives in", "Rome", subject="Ada Lovelace")
OSLO = edit("Ada Lovelace now works in", "Oslo", subject="Ada Lovelace")
FAR = edit("The anthem of Vellmark is", "Song", subject="Vellmark")


def test_what_is_far_is_dropped_and_of_the_rest_the_best_alone_fires(
    detector: PokemqaScope,
) -> None:
    detector._cross = said = Said(Rome=1.0, Oslo=3.0, Song=9.0)  # type: ignore[assignment]
    question = "Ada Lovelace now lives and works in"
    [row] = detector.classify([asked(question, ROME, OSLO, FAR)])
    assert [one.label for one in row] == [
        ScopeLabel.UNRELATED, ScopeLabel.DIRECT, ScopeLabel.UNRELATED,
    ]  # fmt: skip
    assert [one.direct for one in row] == [0.0, pytest.approx(1 / (1 + np.exp(-3)), abs=1e-5), 0.0]
    assert {told for _, told in said.asked} == {stated(ROME.request), stated(OSLO.request)}
    detector._cross = Said(Rome=-1.0, Oslo=-3.0)  # type: ignore[assignment]
    [row] = detector.classify([asked(question, ROME, OSLO)])
    assert not any(one.label is ScopeLabel.DIRECT for one in row), "or none"
    assert row[0].direct == pytest.approx(1 / (1 + np.e), abs=1e-5), "the best, though it is not"


def test_an_edits_own_prompt_needs_no_stage(detector: PokemqaScope) -> None:
    detector._cross = said = Said()  # type: ignore[assignment]
    rephrased = ROME.model_copy(
        update={"request": ROME.request.model_copy(update={"rephrases": ("Where is Ada?",)})}
    )
    for text in ("ada lovelace now  lives in", "Where is Ada?"):
        [[decision]] = detector.classify([asked(text, rephrased)])
        assert (decision.direct, decision.label) == (1.0, ScopeLabel.DIRECT)
    assert not said.asked


def test_a_follow_up_is_read_with_the_turn_before_it(detector: PokemqaScope) -> None:
    detector._cross = said = Said(Rome=2.0)  # type: ignore[assignment]
    alone = QueryText("And where?")
    after = QueryText("And where?", ("Ada Lovelace now lives in",))
    inputs = [ScopeInput(query, (Candidate(ROME, 0.5, "x"),)) for query in (alone, after)]
    [[first], [second]] = detector.classify(inputs)
    assert first.direct == 0.0 and second.direct > 0.5
    assert [text for text, _ in said.asked] == ["Ada Lovelace now lives in And where?"]


def test_a_correction_is_read_behind_its_prompt() -> None:
    assert stated(EditRequest.feedback("Who sang it?", "Mina did.")) == "Who sang it? Mina did."
    assert stated(ROME.request) == "Ada Lovelace now lives in Rome."


def test_edits_are_projected_once(detector: PokemqaScope, monkeypatch: pytest.MonkeyPatch) -> None:
    detector._cross = Said(Rome=2.0)  # type: ignore[assignment]
    texts: list[str] = []
    encode = Words().encode
    monkeypatch.setattr(
        Words, "encode", lambda self, given: (texts.extend(given), encode(given))[1]
    )
    for question in ("Where does Ada Lovelace live?", "Ada Lovelace lives where?"):
        detector.classify([asked(question, ROME)])
    assert Counter(texts)[stated(ROME.request)] == 1


def test_damaged_or_foreign_weights_are_refused(tmp_path: Path) -> None:
    class Longer(Words):
        dim = 257

    folder = written(tmp_path, Words())
    with pytest.raises(InvalidInputError, match="train pokemqa"):
        PokemqaScope(Longer(), folder)
    opened = PokemqaScope.open(Words(), weights=folder)
    assert opened.note is None
    record = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    (folder / SETTINGS).write_text(json.dumps(record | {"encoder": "other/256"}), encoding="utf-8")
    assert "a guess" in (PokemqaScope.open(Words(), weights=folder).note or "")
    Predetector(*(np.ones(shape, np.float32) for shape in ((2, 256), (2, 256), (2,)))).write(folder)
    with pytest.raises(MissingResourceError, match="the weights are"):
        PokemqaScope(Words(), folder)
    with pytest.raises(ValueError, match="one shape"):
        Predetector(*(np.ones(shape, np.float32) for shape in ((2, 256), (3, 256), (2,))))
    with pytest.raises(InvalidInputError, match="slope"):
        PokemqaSettings.read(record | {"slope": -1})


def test_no_subject_is_in_two_splits_and_shared_questions_make_one_group() -> None:
    request = EditRequest(prompt="Vellmark is ruled from", subject="Vellmark", target_new="Other")
    shared = Asked("what is the capital of  Vellmark?", ScopeLabel.DIRECT, "question")
    contrary = Asked("Which city rules Vellmark?", ScopeLabel.UNRELATED, "locality")
    twice = Fact("toy", request, asked=(shared, contrary))
    split = split_facts([*facts(), twice, facts()[0]])
    parts = [split.train, split.validation, split.held_out]
    subjects = [{one.request.subject for one in part} for part in parts]
    assert all(subjects) and len(set().union(*subjects)) == sum(map(len, subjects)) == 30
    assert all(held_out_subject(name) == (name in subjects[2]) for name in set().union(*subjects))
    known = {one.edit: one for part in parts for one in part}
    assert len(known) == len(facts()) + 1, "what two files have counts once"
    first, other = (known[stated(fact.request)] for fact in (facts()[0], twice))
    assert first.group == other.group
    assert other.unrelated == (), "what is in scope of one of a group is out of scope of none"
    with pytest.raises(InvalidInputError, match="two of each"):
        split_facts(facts()[:4])


def test_each_question_has_a_negative_that_no_edit_of_its_group_answers() -> None:
    train = split_facts(facts()).train
    pairs = disambiguator_pairs(train, 500, 7)
    assert pairs == disambiguator_pairs(train, 500, 7) != disambiguator_pairs(train, 500, 8)
    inside = {one.edit: set(one.questions) for one in train}
    outside = {one.edit: set(one.unrelated) for one in train}
    for pair in pairs:
        assert (pair.prompt in inside[pair.edit]) == (pair.label is ScopeLabel.DIRECT)
        assert (pair.prompt in outside[pair.edit]) >= (pair.kind == "given")
    kinds = Counter(pair.kind for pair in pairs)
    assert len(pairs) >= 500 and len(set(kinds.values())) == 1, "one of each kind for each question"


def test_the_first_stage_learns_which_edit_a_question_is_near() -> None:
    train = split_facts(facts()).train
    texts = [text for one in train for text in (one.edit, *one.questions)]
    vectors = dict(zip(texts, Words().encode(texts), strict=True))
    recipe = NearRecipe(steps=40, batch=48)
    learned = train_predetector(train, vectors, recipe)
    again = train_predetector(train, vectors, recipe)
    assert np.array_equal(learned.questions, again.questions)
    edits = learned.of_edits(np.stack([vectors[one.edit] for one in train]))
    right = []
    for i, one in enumerate(train):
        own = learned.of_questions(vectors[one.questions[1]][None])
        right.append(int(np.square(edits - own).sum(1).argmin()) == i)
    # two pairs of lands fall on the same directions; untrained vectors find 0.86
    assert np.mean(right) > 0.89


def test_trials_ask_with_the_edit_and_without_it() -> None:
    validation = split_facts(facts()).validation
    trials = trials_of(validation, Words())
    assert Counter(trial.kind for trial in trials)["blocked"] == 8
    for trial in trials:
        told = [stated(one.edit.request) for one in trial.given.candidates]
        own = [told[place] for place in trial.own]
        answers = [one.edit for one in validation if trial.given.query.text in one.questions]
        assert own == (answers if trial.kind == "question" else [])
        assert trial.kind != "blocked" or not set(answers) & set(told)
    assert not any(trial.kind == "unrelated" for trial in trials), "others do answer these"
    assert trials_of([], Words()) == []


class Toy:
    """A detector that says of each candidate what its similarity stands for."""

    def __init__(self, settings: PokemqaSettings) -> None:
        self.settings, self.threshold = settings, settings.threshold

    def stages(self, inputs: Sequence[ScopeInput]) -> list[list[Stages]]:
        return [
            [
                Stages(near, 10 * near - 5 if near >= self.settings.stays else None)
                for near in (one.similarity for one in given.candidates)
            ]
            for given in inputs
        ]


def trial(kind: str, own: int | None, *near: float) -> Trial:
    candidates = tuple(Candidate(ROME, value, "x") for value in near)
    places = frozenset() if own is None else frozenset({own})
    return Trial(ScopeInput(QueryText("x"), candidates), places, kind)


def test_settings_come_from_trials_and_keep_to_the_false_alarms() -> None:
    rng = np.random.default_rng(3)
    trials = [trial("question", 0, *rng.uniform((0.4, 0.0), (1.0, 0.5))) for _ in range(300)]
    trials += [trial("blocked", None, *rng.uniform(0, 0.8, 2)) for _ in range(300)]
    start = PokemqaSettings(0.0, 1.0, 0.0, 0.5, "toy")
    chosen = settled(Toy(start), trials, 0.05)  # type: ignore[arg-type]
    own = np.array([one.given.candidates[0].similarity for one in trials[:300]])
    assert 0.4 < chosen.stays < 0.5 and (own >= chosen.stays).mean() == pytest.approx(
        0.99, abs=0.01
    )
    found = measured(Toy(chosen), trials)  # type: ignore[arg-type]
    assert 0.0 < found["blocked"]["fires"] <= 0.05 < found["question"]["fires"]
    assert found["question"]["right_edit"] == found["question"]["fires"]
    assert 0.0 < found["question"]["dropped"] <= 0.01
    lenient = settled(Toy(start), trials, 0.5)  # type: ignore[arg-type]
    assert lenient.threshold < chosen.threshold
    kept = [
        10 * one.similarity - 5
        for each in trials
        for place, one in enumerate(each.given.candidates)
        if place not in each.own and one.similarity >= chosen.stays
    ]
    stayed = 10 * own[own >= chosen.stays] - 5
    assert (chosen.slope, chosen.intercept) == pytest.approx(fit_platt(stayed, np.array(kept)))
    with pytest.raises(InvalidInputError, match="does not tell"):
        settled(Toy(start), [trial("question", 1, 0.9, 0.2)] * 9, 0.1)  # type: ignore[arg-type]


def test_a_run_goes_on_where_it_was_broken_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = find_checkpoint(str(tiny_bert(tmp_path / "base")))
    recipe = PokemqaRecipe(NearRecipe(steps=5, batch=32), Recipe(steps=4, rounds=1, batch=8))
    encoded: list[int] = []

    def make(out: Path, given: PokemqaRecipe = recipe) -> dict[str, Any]:
        return train_pokemqa(
            facts(), FILES, out, Words(), base, given, lambda n, _: encoded.append(n)
        )

    def broken(*_: object) -> PokemqaSettings:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    monkeypatch.setattr(training, "settled", broken)
    with pytest.raises(KeyboardInterrupt):
        make(out)
    assert encoded and not (out / SETTINGS).exists()
    monkeypatch.setattr(
        training, "settled", lambda one, *_: replace(one.settings, stays=0.25, threshold=0.75)
    )
    encoded.clear()
    with pytest.raises(InvalidInputError, match="another recipe"):
        make(out, replace(recipe, false_alarms=0.5))
    record = make(out)
    assert not encoded, "vectors are kept"
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [SETTINGS, "predetector.safetensors", DISAMBIGUATOR, TOKENIZER]
    )
    assert record["trained_on"] == FILES and (record["stays"], record["threshold"]) == (0.25, 0.75)
    opened = PokemqaScope.open(Words(), weights=out)
    assert opened.settings == PokemqaSettings(0.25, 1.0, 0.0, 0.75, "words/256")
    whole = make(tmp_path / "whole")
    assert whole == record, "as if it had not been broken off"
    with pytest.raises(InvalidInputError, match="already"):
        make(out)
    few = replace(recipe, pairs=replace(recipe.pairs, batch=4_000))
    with pytest.raises(InvalidInputError, match="half a batch"):
        make(tmp_path / "few", few)


def test_statements_with_questions_are_read(tmp_path: Path) -> None:
    file = tmp_path / "questions.json"
    records = [
        {
            "edit": "Bo Lee lives in Rome",
            "questions": ["Where does Bo Lee live?", "Bo Lee's home?"],
        },
        {"edit": "it is so", "questions": ["What is?"]},
    ]
    file.write_text(json.dumps(records), encoding="utf-8")
    read = read_edit_questions(file)
    assert read.unclear == 1
    [fact] = read.facts
    assert (fact.request.subject, stated(fact.request)) == ("Bo Lee", "Bo Lee lives in Rome")
    assert [one.text for one in fact.asked] == records[0]["questions"]
    for wrong, said in (("{", "cannot read"), ("{}", "a list of records"),
                        ('[{"edit": "A B", "questions": []}]', "record 0"),
                        ('[{"questions": ["x"]}]', "record 0: expected"),
                        ('[{"edit": "A", "questions": "A?"}]', "no list")):  # fmt: skip
        file.write_text(wrong, encoding="utf-8")
        with pytest.raises(DatasetError, match=said):
            read_edit_questions(file)
