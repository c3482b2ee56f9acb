"""What every registered scope classifier keeps."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from memedit.errors import InvalidInputError, MissingResourceError, UnknownNameError
from memedit.scope.base import Encoder, ScopeClassifier, ScopeInput
from memedit.scope.catalog import CLASSIFIERS, open_classifier
from memedit.scope.pair import shipped_folder
from memedit.scope.pokemqa import PokemqaScope
from memedit.types import Candidate, Edit, EditRequest, QueryText, ScopeDecision, ScopeLabel
from tests.scope.pokemqa_facts import written

SIMILARITIES = (-1.0, -0.2, 0.0, 0.3, 0.55, 0.7, 0.8, 0.85, 0.9, 0.95, 0.99, 1.0)
PROMPT = "The capital of Vellmark is"
SERAC = Path(__file__).parents[2] / "examples" / "atlas" / "serac"

Weights = Callable[[str], Path | None]


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Weights:
    """Return where the weights of a classifier are that comes without any."""

    @functools.cache
    def of(name: str) -> Path | None:
        if name == "pokemqa":
            return written(tmp_path_factory.mktemp("pokemqa"), encoder, intercept=4.0)
        return SERAC if name == "serac" else None

    return of


@pytest.fixture(params=CLASSIFIERS.names())
def classifier(
    request: pytest.FixtureRequest, encoder: Encoder, weights: Weights
) -> ScopeClassifier:
    return open_classifier(request.param, encoder, weights=weights(request.param))


def candidate(similarity: float, number: int = 0) -> Candidate:
    edit = Edit(
        id=f"e-{number:012d}",
        version=1,
        namespace="default",
        request=EditRequest(prompt=PROMPT, subject="Vellmark", target_new="Osterhaven"),
        statement=f"{PROMPT} Osterhaven.",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return Candidate(edit, similarity, PROMPT)


def asked(text: str, *similarities: float) -> ScopeInput:
    found = tuple(candidate(similarity, i) for i, similarity in enumerate(similarities))
    return ScopeInput(QueryText(text), found)


def plain(decisions: list[ScopeDecision]) -> list[tuple[str, float, float, float]]:
    return [(it.label, it.direct, it.dependent, it.unrelated) for it in decisions]


def test_probabilities_are_probabilities(classifier: ScopeClassifier) -> None:
    (decisions,) = classifier.classify([asked("What is Vellmark's capital?", *SIMILARITIES)])

    for decision in decisions:
        parts = (decision.direct, decision.dependent, decision.unrelated)
        assert all(0.0 <= part <= 1.0 for part in parts)
        assert sum(parts) == pytest.approx(1.0, abs=1e-9)


def test_more_similar_is_never_less_probable(classifier: ScopeClassifier) -> None:
    (decisions,) = classifier.classify([asked("What is Vellmark's capital?", *SIMILARITIES)])

    probabilities = [decision.probability for decision in decisions]
    assert probabilities == sorted(probabilities)
    # exp(-d) of a learned projection reaches 1 only where prompt and edit fall on one point
    name = vars(type(classifier))["registered_name"]
    assert probabilities[-1] > (0.85 if name == "serac" else 0.9)


def test_labels_follow_the_threshold(classifier: ScopeClassifier) -> None:
    near, far = classifier.classify(
        [
            asked("What is Vellmark's capital?", *SIMILARITIES),
            asked("How do I sort a list in Python?", 0.1),
        ]
    )
    decisions = [*near, *far]

    assert 0.0 < classifier.threshold < 1.0
    for decision in decisions:
        fires = decision.probability >= classifier.threshold
        assert (decision.label is not ScopeLabel.UNRELATED) == fires
    assert {decision.label is ScopeLabel.UNRELATED for decision in decisions} == {True, False}


def test_a_batch_decides_as_one_by_one_and_keeps_the_order(classifier: ScopeClassifier) -> None:
    inputs = [
        asked("What is Vellmark's capital?", 0.9, 0.4, 0.95),
        asked("Nothing was found for this"),
        asked("What is the population of Vellmark?", 0.7),
    ]

    together = classifier.classify(inputs)

    assert [len(row) for row in together] == [3, 0, 1]
    for given, row in zip(inputs, together, strict=True):
        assert [decision.candidate for decision in row] == list(given.candidates)
        (alone,) = classifier.classify([given])
        assert plain(alone) == plain(row)
    assert classifier.classify([]) == []


def test_the_threshold_can_be_chosen(
    classifier: ScopeClassifier, encoder: Encoder, weights: Weights
) -> None:
    own = weights(vars(type(classifier))["registered_name"])
    chosen = type(classifier).open(encoder, threshold=0.25, weights=own)
    assert chosen.threshold == 0.25
    with pytest.raises(InvalidInputError, match="threshold"):
        type(classifier).open(encoder, threshold=1.5, weights=own)


def test_an_unknown_name_is_named(encoder: Encoder) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'cosine'"):
        open_classifier("cosin", encoder)


@pytest.mark.parametrize(
    ("question", "fires"),
    [
        ("What is the capital of Vellmark?", True),
        ("Which city is Vellmark's capital?", True),
        ("What is the population of Vellmark?", False),
        ("What currency does Vellmark use?", False),
        ("What is the capital of Norway?", False),
        ("How do I sort a list in Python?", False),
    ],
)
def test_the_plain_cases_are_right(
    classifier: ScopeClassifier, encoder: Encoder, question: str, fires: bool
) -> None:
    if isinstance(classifier, PokemqaScope):
        pytest.skip("its weights are made by hand here, and have learned nothing")
    texts = [PROMPT, f"{PROMPT} Osterhaven."]
    similarity = float((encoder.encode([question]) @ encoder.encode(texts).T).max())

    ((decision,),) = classifier.classify([asked(question, similarity)])

    assert (decision.probability >= classifier.threshold) == fires


def test_cosine_spans_the_probabilities_by_similarity_alone(encoder: Encoder) -> None:
    classifier = open_classifier("cosine", encoder)

    (decisions,) = classifier.classify([asked("What is Vellmark's capital?", *SIMILARITIES)])

    assert decisions[0].probability < 0.01
    assert {decision.label is ScopeLabel.UNRELATED for decision in decisions} == {True, False}


def test_weights_of_ones_own_are_read_or_refused(encoder: Encoder, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(shipped_folder(), own)
    record = json.loads((own / "pair.json").read_text(encoding="utf-8"))
    (own / "pair.json").write_text(json.dumps(record | {"threshold": 0.875}), encoding="utf-8")
    assert open_classifier("pair", encoder, weights=own).threshold == 0.875
    with pytest.raises(MissingResourceError, match="scope train"):
        open_classifier("pair", encoder, weights=tmp_path / "missing")
    with pytest.raises(InvalidInputError, match=r"scope\.weights"):
        open_classifier("cosine", encoder, weights=own)
    for name in ("serac", "pokemqa"):
        with pytest.raises(InvalidInputError, match=f"train {name}"):
            open_classifier(name, encoder)
        with pytest.raises(MissingResourceError, match=f"train {name}"):
            open_classifier(name, encoder, weights=tmp_path)
