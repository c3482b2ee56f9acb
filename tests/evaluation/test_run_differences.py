"""What two runs do not share is told in words, never as they lie on disk."""

from __future__ import annotations

from memedit.evaluation.run_differences import Unlike, short_print, unlike

A, B = "a" * 64, "b" * 64


def test_what_is_alike_is_not_told() -> None:
    assert unlike("scope", {"threshold": 0.5}, {"threshold": 0.5}) == []


def test_models_and_data_are_told_apart_by_fingerprint_and_size() -> None:
    now, then = {"name": "atlas", "fingerprint": A}, {"name": "atlas", "fingerprint": B}
    assert unlike("model", now, then) == [
        Unlike("model", "atlas (aaaaaaaaaaaa)", "atlas (bbbbbbbbbbbb)")
    ]
    data = {"name": "zsre", "fingerprint": A, "records": 9, "cases": 3}
    assert unlike("dataset", data, {**data, "cases": 9}) == [Unlike("number of cases", "3", "9")]
    one, two = {**data, "tasks": ["zsre"]}, {**data, "records": 18, "tasks": ["wiki", "zsre"]}
    assert unlike("dataset", one, two) == [Unlike("--task (what it holds)", "zsre", "wiki, zsre")]
    assert unlike("dataset", one, {**data, "records": 18})[0].what == "number of records"
    assert unlike("dataset", data, {**data, "name": "other"}) == [
        Unlike("name of the data set", "zsre", "other")
    ]


def test_settings_are_named_as_they_are_set() -> None:
    now = {"threshold": None, "gate": "off"}
    assert unlike("scope", now, {"threshold": 0.9, "gate": "off"}) == [
        Unlike("scope.threshold", "not set", "0.9")
    ]
    amounts = {"max_tokens": 64, "fluent": 50}
    assert unlike("amounts", amounts, {"max_tokens": 8, "fluent": 50}) == [
        Unlike("--max-tokens", "64", "8")
    ]
    assert unlike("incontext", {"a": 1}, {}) == [Unlike("incontext.a", "1", "not recorded")]
    layers = {"ft-m": {"layers": [2], "from": "rule"}}
    assert unlike("layers", layers, {"ft-m": {"layers": [3], "from": "located"}}) == [
        Unlike("layers of ft-m", "layer 2 (a rule: none was located)", "layer 3 (located)")
    ]
    part = {"name": "p", "files": [{"file": "train.json", "sha256": A}], "domains": {}}
    assert unlike("trained", [part], []) == [Unlike("trained part", "p (of train.json)", "none")]


def test_an_address_is_never_cut() -> None:
    url = "http://127.0.0.1:18735 model auto"
    assert short_print(url) == url
    assert short_print(A) == "a" * 12
