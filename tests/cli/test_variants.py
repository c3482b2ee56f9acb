"""Methods of ``memedit eval`` with settings of their own."""

from __future__ import annotations

import re

import pytest

from memedit.cli.variants import Variant, check_variants, read_variants
from memedit.errors import InvalidInputError, SettingsError, UnknownNameError


def test_settings_follow_the_name() -> None:
    assert read_variants("none, ft-m,none,grace:radius=3 : search.steps=50,lora:layers=[1,2]") == [
        Variant("none", "none"),
        Variant("ft-m", "ft-m"),
        Variant("grace:radius=3:search.steps=50", "grace", {"radius": 3, "search": {"steps": 50}}),
        Variant("lora:layers=[1,2]", "lora", {"layers": (1, 2)}),
    ]
    targets = read_variants('lora:targets=["a.b","c:d"]:rank=2,melo')
    assert targets[0].settings == {"targets": ("a.b", "c:d"), "rank": 2}
    assert [one.name for one in read_variants(",, ")] == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("grace:radius", "--method 'radius': expected NAME=VALUE"),
        ("lora:layers=[1,2", "a bracket is not closed"),
        ("grace:search=3:search.steps=4", "search was given a value of its own"),
    ],
)
def test_what_cannot_be_read_is_said(given: str, said: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(said)):
        read_variants(given)


def test_methods_and_settings_are_checked_before_anything_is_loaded() -> None:
    check_variants(read_variants("none,ice,ice+always,ft-m:layer=1,grace,melo:rank=2"), proxy=False)
    routed, teaching = read_variants("grace+router:share=0.3,lora:ends=true")
    assert (routed.method, routed.bare) == ("grace+router", "grace")
    check_variants([routed, teaching], proxy=False)
    check_variants(read_variants("none,proxy"), proxy=True)
    with pytest.raises(UnknownNameError, match=r"Did you mean 'grace'.* adapters: .*grace"):
        check_variants(read_variants("grase:radius=1"), proxy=False)
    with pytest.raises(SettingsError, match="'grace' cannot be measured with --proxy"):
        check_variants(read_variants("grace"), proxy=True)
    with pytest.raises(SettingsError, match="ice takes no settings"):
        check_variants(read_variants("ice:radius=1"), proxy=False)
    with pytest.raises(InvalidInputError, match="no setting 'radios'"):
        check_variants(read_variants("grace:radios=1"), proxy=False)
    with pytest.raises(InvalidInputError, match="no setting 'radios'"):
        check_variants(read_variants("grace+router:radios=1"), proxy=False)
    with pytest.raises(SettingsError, match="ends is 'maybe'; expected true or false"):
        check_variants(read_variants("grace:ends=maybe"), proxy=False)
    with pytest.raises(UnknownNameError, match=r"no method called 'rome\+router'"):
        check_variants(read_variants("rome+router"), proxy=False)
    with pytest.raises(InvalidInputError, match=r"radius -1, share 0\.2: expected numbers above 0"):
        check_variants(read_variants("grace:radius=-1"), proxy=False)
    with pytest.raises(InvalidInputError, match="no setting 'stepz'"):
        check_variants(read_variants("ft-m:stepz=1"), proxy=False)
