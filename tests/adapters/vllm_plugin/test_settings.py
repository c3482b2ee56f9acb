from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from memedit.adapters.vllm_plugin.settings import GraceSettings, Served
from memedit.errors import SettingsError


def test_nothing_said_serves_no_grace() -> None:
    for nothing in ({}, {"other": 1}, {"memedit": {}}, None):
        assert GraceSettings.read(nothing) == GraceSettings((), 256)


def test_what_is_said_is_read() -> None:
    said = {"memedit": {"grace_layers": [4, 7], "grace_capacity": 9}}
    assert GraceSettings.read(said) == GraceSettings((4, 7), 9)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ([1], "additional_config.memedit is"),
        ({"grace_layer": 1}, "has no grace_layer"),
        ({"grace_layers": 4}, "expected numbers of layers"),
        ({"grace_layers": [-1]}, "expected numbers of layers"),
        ({"grace_layers": [True]}, "expected numbers of layers"),
        ({"grace_layers": [4, 4]}, "expected numbers of layers"),
        ({"grace_capacity": 0}, "grace_capacity is 0"),
        ({"grace_capacity": "9"}, "grace_capacity is '9'"),
    ],
)
def test_what_is_said_wrongly_is_an_error(said: Any, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        GraceSettings.read({"memedit": said})


def test_it_says_how_to_start_the_server() -> None:
    said = GraceSettings((4,), 8).how_to(2, 9)
    assert '{"memedit": {"grace_layers": [2, 4], "grace_capacity": 16}}' in said
    assert '"grace_capacity": 8}' in GraceSettings((4,), 8).how_to(4, 3)


def test_a_server_without_loras_serves_none() -> None:
    config = SimpleNamespace(lora_config=None, additional_config={})
    assert Served.read(config) is None
    config.lora_config = SimpleNamespace(max_lora_rank=16)
    assert Served.read(config) == Served(GraceSettings(), 16)
