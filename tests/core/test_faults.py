from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from memedit.faults import each_of, faults_of
from memedit.types import EditRequest


class Two(BaseModel):
    one: int
    two: list[int]


def test_each_field_is_named_with_what_is_wrong() -> None:
    with pytest.raises(ValidationError) as found:
        Two.model_validate({"one": "many", "two": [1, "secret"]})
    said = faults_of(found.value)
    assert said.startswith("one: ") and "; two.1: " in said
    assert "secret" not in said and "many" not in said


def test_a_rule_of_our_own_is_said_in_our_own_words() -> None:
    with pytest.raises(ValidationError) as found:
        EditRequest(prompt=" ", subject="x", target_new="y")
    assert "Value error" not in faults_of(found.value, "edit")
    assert faults_of(found.value, "edit")


def test_what_is_no_json_is_called_so() -> None:
    with pytest.raises(ValidationError) as found:
        Two.model_validate_json('{"one": 1,')
    assert faults_of(found.value, "line").startswith("line: this is no JSON (")
    as_fastapi = {"type": "json_invalid", "loc": ("body", 7), "msg": "JSON decode error"}
    [said] = each_of([{**as_fastapi, "ctx": {"error": "Expecting value"}}])
    assert said == "body: this is no JSON (Expecting value at character 7)"
