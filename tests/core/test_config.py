from __future__ import annotations

from pathlib import Path

import pytest

from memedit.config import Settings
from memedit.errors import SettingsError


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_flags_win_over_environment_over_file_over_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memedit.toml").write_text(
        '[serve]\nport = 1\nhost = "from-file"\n[scope]\ncandidates = 9\n'
    )
    monkeypatch.setenv("MEMEDIT_SERVE__PORT", "2")
    monkeypatch.setenv("MEMEDIT_SERVE__UPSTREAM", "http://from-environment")
    settings = Settings.read(flags={"serve": {"port": 3, "host": None}})
    assert settings.serve.port == 3
    assert settings.serve.upstream == "http://from-environment"
    assert settings.serve.host == "from-file"
    assert settings.scope.candidates == 9
    assert settings.scope.max_edits == Settings().scope.max_edits


def test_every_fault_is_named_with_the_file(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text('[serve]\nport = 70000\nprot = 1\n[memroy]\nurl = "x"\n')
    with pytest.raises(SettingsError) as caught:
        Settings.read(file)
    message = str(caught.value)
    for part in ("serve.port", "serve.prot", "memroy", "my.toml"):
        assert part in message


def test_a_named_file_must_be_there_and_be_toml(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read the settings file"):
        Settings.read(tmp_path / "absent.toml")
    (tmp_path / "bad.toml").write_text("serve = [")
    with pytest.raises(SettingsError, match="not valid TOML"):
        Settings.read(tmp_path / "bad.toml")


def test_secrets_are_masked_when_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMEDIT_SERVE__ADMIN_KEYS", '["hush-hush"]')
    monkeypatch.setenv("MEMEDIT_SERVE__UPSTREAM_API_KEY", "hush-hush")
    settings = Settings.read()
    assert settings.serve.admin_keys[0].get_secret_value() == "hush-hush"
    assert "hush-hush" not in str(settings.shown()) and "hush-hush" not in repr(settings)


def test_a_secret_never_stands_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMEDIT_SERVE__ADMIN_KEYS", '["hush-hush"')
    with pytest.raises(SettingsError) as caught:
        Settings.read()
    assert "hush-hush" not in str(caught.value)


@pytest.mark.parametrize("spelled", ["one,two", " one , two,", '["one", "two"]'])
def test_lists_are_json_or_words_with_commas(spelled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMEDIT_SERVE__ADMIN_KEYS", spelled)
    keys = Settings.read().serve.admin_keys
    assert [key.get_secret_value() for key in keys] == ["one", "two"]


@pytest.mark.parametrize("slip", ["MEMEDIT_SERV__PORT", "MEMEDIT_SERVE_PORT", "MEMEDIT_PORT"])
def test_a_slip_in_the_environment_is_named(slip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(slip, "8200")
    with pytest.raises(SettingsError, match=f"{slip} is no setting"):
        Settings.read()


def test_other_variables_of_memedit_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMEDIT_KEY", "x")
    monkeypatch.setenv("MEMEDIT_DATA", "x")
    Settings.read()
