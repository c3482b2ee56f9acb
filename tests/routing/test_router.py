from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from memedit.errors import EncoderMismatchError, MemoryFailure
from memedit.routing import Reason, RouteQuery
from memedit.scope.base import ScopeClassifier, ScopeInput
from memedit.types import Action, QueryText, ScopeDecision, ScopeLabel, Surface
from tests.routing.tiny_memory import (
    DAY_ONE,
    BySimilarity,
    TinyMemory,
    WordEncoder,
    decided,
    edit,
    router,
)

FRANCE = "The capital of France is"
ITALY = edit("The capital of Italy is", "Marnel", subject="Italy", id="e-italy")


def ask(text: str, *context: str, namespaces: tuple[str, ...] = ("default",)) -> RouteQuery:
    return RouteQuery(QueryText(text, context), Surface.CHAT, namespaces)


class Recording(ScopeClassifier):
    """Says for each edit what it is told to; keeps what it was asked."""

    threshold = 0.5

    def __init__(self, **told: tuple[float, float]) -> None:
        self.told = told
        self.asked: list[list[ScopeInput]] = []

    def classify(self, inputs: Sequence[ScopeInput]) -> list[list[ScopeDecision]]:
        self.asked.append(list(inputs))
        return [
            [decided(c, *self.told.get(c.edit.id[2:], (0.0, 0.0))) for c in one.candidates]
            for one in inputs
        ]


def test_no_live_edit_no_encoding() -> None:
    memory = TinyMemory([edit(namespace="other")])
    routes = router(memory=memory).decide([ask(FRANCE), ask("x")])
    assert [route.reason for route in routes] == [Reason.NO_EDITS] * 2
    assert memory.encoder.batches == []
    assert memory.refreshed == 1


def test_one_encoding_one_classification_for_a_batch_and_each_text_once() -> None:
    memory = TinyMemory([edit(), ITALY])
    classifier = Recording(aaaaaaaaaaaa=(0.9, 0.0))
    routes = router(memory=memory, classifier=classifier).decide(
        [ask(FRANCE), ask("x", namespaces=("none",)), ask(FRANCE), ask(" "), ask("Marnel")]
    )
    assert memory.encoder.batches == [[FRANCE, "Marnel"]]
    assert [len(batch) for batch in classifier.asked] == [3]
    assert [route.reason for route in routes] == [
        Reason.IN_SCOPE,
        Reason.NO_EDITS,
        Reason.IN_SCOPE,
        Reason.GATED,
        Reason.IN_SCOPE,
    ]


def test_a_query_that_leans_is_searched_with_what_it_leans_on() -> None:
    memory = TinyMemory([edit()])
    (route,) = router(memory=memory).decide([ask("and its mayor?", FRANCE)])
    (batch,) = memory.encoder.batches
    assert batch == ["and its mayor?", f"{FRANCE} and its mayor?"]
    (considered,) = route.considered
    whole = WordEncoder().encode([FRANCE]) @ WordEncoder().encode(batch).T
    assert considered.candidate.similarity == pytest.approx(float(whole.max()))


def test_most_probable_first_direct_before_dependent_and_not_too_many() -> None:
    names = ["a", "b", "c", "d", "e"]
    edits = [edit(f"{FRANCE} {name}", id=f"e-{name}") for name in names]
    classifier = Recording(a=(0.55, 0.0), b=(0.1, 0.85), c=(0.9, 0.0), d=(0.2, 0.1), e=(0.6, 0.3))
    query = [ask(FRANCE)]
    (route,) = router(*edits, classifier=classifier, max_edits=3).decide(query)
    assert [d.candidate.edit.id for d in route.considered] == ["e-b", "e-c", "e-e", "e-a", "e-d"]
    assert [d.candidate.edit.id for d in route.applied] == ["e-c", "e-e", "e-a"]
    (route,) = router(*edits, classifier=classifier, max_edits=9).decide(query)
    assert [d.candidate.edit.id for d in route.applied] == ["e-c", "e-e", "e-a", "e-b"]
    assert route.applied[-1].label is ScopeLabel.DEPENDENT


def test_equal_candidates_stand_in_a_fixed_order() -> None:
    edits = [edit(f"{FRANCE}{mark}", id=f"e-{n}") for n, mark in zip("cab", "!?.", strict=True)]
    orders = {
        router(*some).decide([ask(FRANCE)])[0].edit_ids
        for some in (edits, edits[::-1], [edits[1], edits[0], edits[2]])
    }
    assert orders == {("e-a@1", "e-b@1", "e-c@1")}


def test_the_threshold_of_the_query_replaces_the_classifiers() -> None:
    classifier = Recording(aaaaaaaaaaaa=(0.4, 0.0))
    by = router(edit(), classifier=classifier)
    assert by.decide([ask(FRANCE)])[0].reason is Reason.OUT_OF_SCOPE
    lower = RouteQuery(QueryText(FRANCE), threshold=0.4)
    assert by.decide([lower])[0].action is Action.IN_CONTEXT
    higher = RouteQuery(QueryText(FRANCE), threshold=0.41)
    assert by.decide([higher])[0].action is Action.PASS


def test_only_edits_that_are_valid_now() -> None:
    timed = edit(valid_from=DAY_ONE, valid_to=DAY_ONE + timedelta(days=2))
    moments = [DAY_ONE - timedelta(days=1), DAY_ONE + timedelta(days=1), DAY_ONE + timedelta(2)]
    reasons = [router(timed, now=lambda m=m: m).decide([ask(FRANCE)])[0].reason for m in moments]
    assert reasons == [Reason.GATED, Reason.IN_SCOPE, Reason.GATED]


def test_the_moment_is_now_and_aware() -> None:
    seen: list[datetime] = []

    class Watching(TinyMemory):
        def candidates(self, vectors, namespaces, k, moment, *, texts=None):  # type: ignore[no-untyped-def]
            seen.append(moment)
            assert texts == [FRANCE]
            return super().candidates(vectors, namespaces, k, moment)

    router(memory=Watching([edit()])).decide([ask(FRANCE)])
    assert abs(datetime.now(UTC) - seen[0]) < timedelta(seconds=30)


@pytest.mark.parametrize("part", ["refresh", "has_live", "candidates", "encode", "classify"])
def test_whatever_fails_is_a_memory_failure_that_quotes_nothing(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, classifier = TinyMemory([edit()]), BySimilarity()

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("postgresql://user:password@host")

    owner = {"encode": memory.encoder, "classify": classifier}.get(part, memory)
    monkeypatch.setattr(owner, part, fail)
    with pytest.raises(MemoryFailure, match="RuntimeError") as caught:
        router(memory=memory, classifier=classifier).decide([ask(FRANCE)])
    assert "password" not in str(caught.value)


def test_a_memory_failure_keeps_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> bool:
        raise EncoderMismatchError("another encoder; run memedit reindex")

    memory = TinyMemory([edit()])
    monkeypatch.setattr(memory, "refresh", fail)
    with pytest.raises(EncoderMismatchError, match="reindex"):
        router(memory=memory).decide([ask(FRANCE)])


def test_an_empty_batch() -> None:
    assert router(edit()).decide([]) == []


def test_compose_follows_the_surface() -> None:
    by = router(edit())
    (route,) = by.decide([ask(FRANCE)])
    assert by.compose(FRANCE, route, Surface.CHAT).before.startswith("Updated facts")
    assert by.compose(FRANCE, route, Surface.COMPLETION).before.startswith("Imagine that")
    (nothing,) = by.decide([ask("Birds sing")])
    assert by.compose(FRANCE, nothing, Surface.CHAT).before == ""
