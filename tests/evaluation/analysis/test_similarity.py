from __future__ import annotations

import pytest

from memedit.errors import InvalidInputError
from memedit.evaluation.analysis.facts import (
    CONSISTENCY,
    RELEVANCE,
    SAME_RELATION,
    SAME_SUBJECT,
    UNRELATED,
    facts_of,
    kinship,
    related,
)
from memedit.evaluation.analysis.record import Located
from memedit.evaluation.analysis.relations import Relations
from memedit.evaluation.analysis.similarity import places, rsim
from memedit.evaluation.cases import EditCase, Metric, Probe
from memedit.types import EditRequest


def test_places_are_the_strongest_units() -> None:
    assert places([0.1, 0.9, 0.5, 0.9], 2) == {1, 3}
    assert places([0.5, 0.5, 0.5], 2) == {0, 1}, "of equals, the earlier one"


def test_rsim_by_hand() -> None:
    # Two facts in layers 0 and 1, two in layers 2 and 3.
    profiles = [[9, 8, 0, 0], [8, 9, 0, 0], [0, 0, 9, 8], [0, 0, 8, 9]]
    groups = {"related": [(0, 1), (2, 3)], "not": [(0, 2), (1, 3)], "empty": []}
    found = {(one.group, one.k): one for one in rsim(profiles, groups, (1, 2, 4, 5), "layers")}
    # k = 2: two of the six pairs overlap wholly, four not at all: Sim_all = 1/3.
    two = found["related", 2]
    assert (two.related, two.everything) == (1.0, pytest.approx(1 / 3))
    assert two.rsim == pytest.approx(1.0)
    assert (two.pairs, two.all_pairs) == (2, 6)
    assert found["not", 2].rsim == 0.0, "less alike than any two: not under 0"
    # k = 1: no two facts have the same strongest layer.
    assert found["related", 1].rsim == 0.0
    # k = 4: everything is alike, and RSim says nothing.
    assert found["related", 4].rsim is None
    assert set(found) == {(g, k) for g in ("related", "not") for k in (1, 2, 4)}


def test_half_an_overlap_by_hand() -> None:
    profiles = [[3, 2, 1, 0], [3, 0, 2, 1], [0, 1, 3, 2]]  # {0,1}, {0,2}, {2,3}
    [one] = rsim(profiles, {"g": [(0, 1)]}, (2,), "layers")
    # Overlaps: 1/2, 0, 1/2: Sim_all = 1/3, Sim_cand = 1/2.
    assert one.rsim == pytest.approx((1 / 2 - 1 / 3) / (1 - 1 / 3))


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"\[2, 3\]"):
        rsim([[1, 2], [1, 2, 3]], {}, (1,), "layers")
    with pytest.raises(InvalidInputError, match="with itself"):
        rsim([[1, 2], [1, 2]], {"g": [(1, 1)]}, (1,), "layers")
    assert rsim([], {"g": []}, (1,), "layers") == ()


def fact(case: str, role: str, subject: str = "S", relation: str = "R") -> Located:
    return Located(case, role, "p", subject, relation, "a", 0.9, 0.1, {"mlp": (0.1, 0.2)})


def test_pairs_are_grouped_by_how_they_are_related() -> None:
    facts = [
        fact("a", "edit"),
        fact("a", "rephrase"),
        fact("a", "follows"),
        fact("a", "other_relation", relation="Q"),
        fact("b", "edit", "T"),
        fact("c", "edit", "s", "Q"),
        fact("d", "edit", "U", "Q"),
        fact("e", "edit", "V", ""),
    ]
    found = related(facts)
    assert found[CONSISTENCY] == [(0, 1)]
    assert found[RELEVANCE] == [(0, 2)]
    assert found[SAME_SUBJECT] == [(0, 3), (0, 5)]
    assert found[SAME_RELATION] == [(0, 4), (3, 6), (5, 6)]
    assert found[UNRELATED] == [(0, 6), (3, 4), (4, 5), (4, 6)]


def test_kinship_is_said_only_where_the_data_tell() -> None:
    assert kinship("A", "", "B", "R") is None
    assert kinship("A", "R", "a", "R") is None, "one fact edited twice is no pair of facts"


def test_facts_are_prompts_that_name_their_subject() -> None:
    request = EditRequest(prompt="The capital of Q is", subject="Q", target_new="L")
    probes = (
        Probe(Metric.GENERALITY, "", "What town rules it?", ("L",)),
        Probe(Metric.GENERALITY, "", "Q is governed from", ("L",)),
        Probe(Metric.LOCALITY, "Forgetfulness", "The capital of Q, not L, is", ("X",)),
        Probe(Metric.LOCALITY, "near", "Q is governed from", ("X",)),
        Probe(Metric.LOCALITY, "near", "The river of Q is", ("X",)),
        Probe(Metric.LOCALITY, "near", "The flag of Q is", ("X",)),
        Probe(Metric.PORTABILITY, "", "The river of the capital of Q is", ("X",)),
    )
    case = EditCase("c", "zsre", (request,), probes, relation="capital")
    river = EditRequest(prompt="The river of R is", subject="R", target_new="W")
    relations = Relations([case, EditCase("r", "zsre", (river,), ())])
    assert [(one.role, one.prompt, one.relation) for one in facts_of([case], relations)] == [
        ("edit", "The capital of Q is", "capital"),
        ("rephrase", "Q is governed from", "capital"),
        ("follows", "The river of the capital of Q is", ""),
        ("other_relation", "The river of Q is", "the river of {} is"),
    ]
    many = EditCase("m", "mquake", (request, request), probes)
    assert [one.role for one in facts_of([many], relations)] == ["edit", "edit"]
