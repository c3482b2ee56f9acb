from __future__ import annotations

from datetime import timedelta

from memedit.routing.selection import merged, selected
from memedit.types import Candidate
from tests.routing.tiny_memory import DAY_ONE, decided, edit


def test_each_edit_once_with_its_best_similarity() -> None:
    a, b, c = (edit(id=f"e-{name}") for name in "abc")
    hits = [
        Candidate(b, 0.5, "x"),
        Candidate(a, 0.2, "x"),
        Candidate(a, 0.5, "y"),
        Candidate(b, 0.4, "y"),
        Candidate(c, 0.1, "z"),
    ]
    assert merged(hits, 2) == (Candidate(a, 0.5, "y"), Candidate(b, 0.5, "x"))
    assert merged([], 2) == ()


def test_candidates_that_a_text_names_stay_beside_the_nearest() -> None:
    a, b, c = (edit(id=f"e-{name}") for name in "abc")
    hits = [Candidate(a, 0.5, "x"), Candidate(b, 0.3, "x", named=True), Candidate(c, 0.4, "x")]
    assert [one.edit for one in merged(hits, 1)] == [a, b]
    twice = [Candidate(a, 0.5, "x"), Candidate(c, 0.4, "x"), Candidate(c, 0.2, "y", named=True)]
    assert merged(twice, 1)[1] == Candidate(c, 0.4, "x", named=True)


def test_of_edits_that_disagree_the_first_namespace_speaks() -> None:
    base = decided(Candidate(edit(id="e-a"), 0.9, "x"), 0.9)
    team = edit("the capital of  FRANCE is", "Other", id="e-b", namespace="team")
    mine = decided(Candidate(team, 0.8, "x"), 0.8)
    for order, wanted in ((("team", "default"), mine), (("default", "team"), base)):
        chosen = selected("x", [base, mine], 0.5, 4, order)
        assert chosen.considered == (base, mine)
        assert chosen.applied == (wanted,)


def test_and_within_a_namespace_the_newest() -> None:
    old = decided(Candidate(edit(id="e-a"), 0.9, "x"), 0.9)
    later = edit(target="Other", id="e-b", created=DAY_ONE + timedelta(hours=1))
    new = decided(Candidate(later, 0.9, "x"), 0.9)
    assert selected("x", [old, new], 0.5, 4, ("default",)).applied == (new,)
    # but one that does not concern the prompt silences nobody
    unsure = decided(Candidate(later, 0.4, "x"), 0.4)
    assert selected("x", [old, unsure], 0.5, 4, ("default",)).applied == (old,)
