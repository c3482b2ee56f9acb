from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from memedit.types import Candidate, Edit, EditRequest, ScopeDecision, ScopeLabel, Status

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def edit(**changes: object) -> Edit:
    request = EditRequest(
        prompt="The capital of Veltria is", subject="Veltria", target_new="Norwick"
    )
    values: dict[str, object] = {
        "id": "e-1",
        "version": 1,
        "namespace": "default",
        "request": request,
        "statement": request.plain_statement(),
        "created_at": NOON,
    }
    return Edit(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("prompt", "target", "statement"),
    [
        ("The capital of Veltria is", "Norwick", "The capital of Veltria is Norwick."),
        ("The capital of Veltria is", "Norwick.", "The capital of Veltria is Norwick."),
        ("What is the capital of Veltria?", "Norwick", "What is the capital of Veltria? Norwick"),
    ],
)
def test_statement_is_made_of_prompt_and_target(prompt: str, target: str, statement: str) -> None:
    request = EditRequest(prompt=prompt, subject="Veltria", target_new=target)
    assert request.plain_statement() == statement


def test_a_statement_that_was_given_is_kept() -> None:
    request = EditRequest(prompt="p", subject="s", target_new="t", statement="Said so.")
    assert request.plain_statement() == "Said so."


@pytest.mark.parametrize("field", ["prompt", "subject", "target_new"])
def test_empty_fields_are_refused_by_name(field: str) -> None:
    values = {"prompt": "p", "subject": "s", "target_new": "t", field: "  "}
    with pytest.raises(ValidationError, match=field):
        EditRequest(**values)  # type: ignore[arg-type]


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(ValidationError, match="tagret"):
        EditRequest(prompt="p", subject="s", target_new="t", tagret="x")  # type: ignore[call-arg]


@pytest.mark.parametrize("namespace", ["", "a b", "-x", "x" * 129, "a\nb", "ä"])
def test_namespaces_are_plain_names(namespace: str) -> None:
    with pytest.raises(ValidationError, match="namespace"):
        edit(namespace=namespace)


def test_validity_is_half_open_and_needs_a_length() -> None:
    dated = edit(valid_from=NOON, valid_to=NOON + timedelta(hours=1))
    assert dated.is_valid_at(NOON)
    assert not dated.is_valid_at(NOON + timedelta(hours=1))
    assert not dated.is_valid_at(NOON - timedelta(microseconds=1))
    with pytest.raises(ValidationError, match="must be later than"):
        edit(valid_from=NOON, valid_to=NOON)


@pytest.mark.parametrize("status", [Status.SUPERSEDED, Status.RETRACTED])
def test_only_live_edits_are_valid(status: Status) -> None:
    assert not edit(status=status).is_valid_at(NOON)


@given(st.text(min_size=1, max_size=40).filter(str.strip), st.text(min_size=1).filter(str.strip))
def test_edits_survive_json(prompt: str, target: str) -> None:
    before = edit(request=EditRequest(prompt=prompt, subject="s", target_new=target))
    assert Edit.model_validate_json(before.model_dump_json()) == before


def test_probability_is_that_of_concerning_at_all() -> None:
    candidate = Candidate(edit=edit(), similarity=0.5, matched="x")
    decision = ScopeDecision(candidate, ScopeLabel.DEPENDENT, 0.25, 0.5, 0.25)
    assert decision.probability == 0.75
