"""Settings: which edits are in force together, and which cases are measured."""

from __future__ import annotations

import pytest

from memedit.errors import SettingsError
from memedit.evaluation.mixing import mixed
from memedit.evaluation.settings import Mode, Setting, read_settings
from tests.evaluation.toy_facts import CASES


def test_what_can_be_said() -> None:
    assert Setting.parse("single") == Setting(Mode.SINGLE)
    assert Setting.parse("batch") == Setting(Mode.BATCH)
    assert Setting.parse("batch:50") == Setting(Mode.BATCH, 50)
    assert Setting.parse(" sequential:100") == Setting(Mode.SEQUENTIAL, 100)
    for text in ("single", "batch", "batch:50", "sequential:100", "sequential:12345678"):
        assert str(Setting.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "sequential", "single:3", "batch:0", "sequential:0", "batch:-1", "both"]
)
def test_what_cannot(text: str) -> None:
    with pytest.raises(SettingsError, match="sequential"):
        Setting.parse(text)


def test_cases_are_split_as_the_setting_says() -> None:
    def sizes(text: str, at_once: int) -> list[int]:
        return [len(part) for part in Setting.parse(text).parts(CASES, at_once)]

    assert sizes("single", 1) == [1] * 6
    assert sizes("single", 4) == [4, 2]
    assert sizes("batch", 1) == [6]
    assert sizes("batch:4", 1) == [4, 2]
    assert sizes("sequential:6", 1) == [6]
    flat = [case for part in Setting.parse("batch:4").parts(CASES, 1) for case in part]
    assert flat == list(CASES)


def test_a_sequence_counts_edits_and_is_never_shorter_than_it_says() -> None:
    assert Setting.parse("sequential:4").chosen(CASES) == mixed(CASES)[:4]
    with pytest.raises(SettingsError, match="needs 7 edits, and the chosen cases have 6"):
        Setting.parse("sequential:7").chosen(CASES)
    assert set(Setting.parse("batch").chosen(CASES)) == set(CASES)


def test_several_settings_are_joined_by_commas() -> None:
    found = read_settings("sequential:10, batch,sequential:100,batch")
    assert [str(one) for one in found] == ["sequential:10", "batch", "sequential:100"]
    for text in ("", "single,", "single,both"):
        with pytest.raises(SettingsError, match="expected single, batch"):
            read_settings(text)
