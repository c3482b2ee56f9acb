"""Sites: proposed from a trace, kept per model, with a rule for what was not located."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memedit.errors import InvalidInputError
from memedit.modeling.fingerprint import model_fingerprint
from memedit.modeling.locate import (
    Site,
    default_site,
    load_site,
    propose,
    rule,
    save_site,
    sites_folder,
)
from memedit.modeling.trace import Cell, Estimate, Kind, Position, Trace
from tests.modeling.families import tiny_model


def made(effects: list[float], kind: Kind = Kind.MLP) -> Trace:
    one = Estimate(0.5, 0.4, 0.6, 10)
    cells = tuple(
        Cell(kind, n, Position.SUBJECT_LAST, one, Estimate(value, value, value, 10))
        for n, value in enumerate(effects)
    )
    return Trace(len(effects), 1, 0.1, 3, 0.5, 12, 10, (), one, one, cells, "f" * 64, "p" * 64)


def test_the_largest_effect_ends_the_range() -> None:
    site = propose(made([0.01, 0.2, 0.3, 0.5, 0.2, 0.1]))
    assert (site.layer, site.layers) == (3, (1, 2, 3))
    assert site.source == "located" and site.prompts == 10
    assert site.effects[3] == 0.5 and site.fingerprint == "f" * 64
    assert propose(made([0.5, 0.1])).layers == (0,)
    assert propose(made([0.5] * 9 + [0.6])).layers == (5, 6, 7, 8, 9)


def test_nothing_is_proposed_from_nothing() -> None:
    with pytest.raises(InvalidInputError, match="not traced"):
        propose(made([0.1, 0.2], Kind.HIDDEN))
    with pytest.raises(InvalidInputError, match="no layer's MLP"):
        propose(made([-0.1, 0.0]))


def test_it_is_kept_for_this_model_alone(tmp_path: Path) -> None:
    model = tiny_model("llama")
    own = model_fingerprint(model)
    assert default_site(model, cache=tmp_path) == rule(3, own)
    site = Site(1, (0, 1), "located", own, (0.1, 0.2, 0.0), "p", 7)
    path = save_site(site, tmp_path)
    assert [path] == list(tmp_path.iterdir())
    assert load_site(own, tmp_path) == default_site(model, cache=tmp_path) == site
    assert default_site(tiny_model("qwen2"), cache=tmp_path).source == "rule"
    path.write_text(path.read_text().replace('"layer": 1', '"layer": 5'))
    with pytest.raises(InvalidInputError, match="run 'memedit locate' again"):
        default_site(model, cache=tmp_path)
    path.write_text("{")
    with pytest.raises(InvalidInputError, match="no located site"):
        load_site(own, tmp_path)


def test_the_users_own_site_stands_in_where_the_named_folder_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    model = tiny_model("llama")
    own = model_fingerprint(model)
    mine, named = Site(1, (0, 1), "located", own), Site(2, (2,), "located", own, sure=False)
    save_site(mine)
    assert default_site(model, cache=tmp_path / "named") == mine
    file = save_site(named, tmp_path / "named")
    assert default_site(model, cache=tmp_path / "named") == named
    assert default_site(model) == mine
    stored = json.loads(file.read_text())
    del stored["sure"]  # as an older version wrote it
    file.write_text(json.dumps(stored))
    assert default_site(model, cache=tmp_path / "named").sure


def test_a_site_of_more_layers_than_the_model_has_is_refused(tmp_path: Path) -> None:
    model = tiny_model("llama")
    save_site(Site(5, (4, 5), "located", model_fingerprint(model)), tmp_path)
    with pytest.raises(InvalidInputError, match="of a model with 3"):
        default_site(model, cache=tmp_path)


def test_the_rule_is_a_quarter_of_the_depth() -> None:
    assert [rule(n).layer for n in (1, 3, 8, 32, 48)] == [0, 0, 2, 8, 12]
    assert rule(8).layers == (0, 1, 2) and rule(1).layers == (0,)


def test_the_users_own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert sites_folder() == tmp_path / "memedit" / "sites"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert sites_folder() == Path("~/.cache/memedit/sites").expanduser()
