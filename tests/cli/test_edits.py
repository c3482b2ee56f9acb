"""add, list, show, search, supersede, retract, history: on a memory, and on a running proxy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memedit.config import Settings
from memedit.serving.app import create_app
from memedit.types import Edit
from memedit.wiring import open_memory, open_router
from tests.cli.conftest import Run
from tests.live_server import LiveServer

CAPITAL = ("The capital of Quendoria is", "Lindhaven", "-s", "Quendoria")


@pytest.fixture(params=["memory", "proxy"])
def where(
    request: pytest.FixtureRequest, tmp_path: Path, serve: Callable[[Any], LiveServer]
) -> Any:
    """Return the options that say where a command works."""
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    if request.param == "memory":
        yield ("--memory", url)
        return
    settings = Settings.read(flags={"memory": {"url": url}, "serve": {"admin_keys": ["letmein"]}})
    with open_memory(settings=settings) as memory:
        proxy = serve(create_app(settings.serve, open_router(memory, settings), memory))
        yield ("--url", proxy.url, "--key", "letmein")


def test_an_edit_from_birth_to_retraction(run: Run, where: tuple[str, ...]) -> None:
    extra = (
        *("--rephrase", "Quendoria's capital?", "--rephrase", "seat of Quendoria?"),
        *("--alias", "the Quendorian Republic", "--ground-truth", "Oldcastle"),
        *("--author", "ann", "--valid-from", "2020-01-01", "--namespace", "geo"),
    )
    edit = Edit.model_validate(run("add", *CAPITAL, *extra, "--json", *where).json)
    assert edit.request.rephrases == ("Quendoria's capital?", "seat of Quendoria?")
    assert edit.request.aliases == ("the Quendorian Republic",)
    assert (edit.namespace, edit.author, edit.request.ground_truth) == ("geo", "ann", "Oldcastle")
    assert (
        edit.valid_from is not None and edit.valid_from.isoformat() == "2020-01-01T00:00:00+00:00"
    )

    [listed] = run("list", "--json", *where).json
    assert listed == edit.model_dump(mode="json")
    assert run("list", "--json", "-n", "elsewhere", *where).json == []
    [hit] = run("search", "capital of Quendoria", "-n", "geo", "--json", *where).json
    assert hit["edit"]["id"] == edit.id and hit["similarity"] > 0.5

    moved = ("The capital of Quendoria is", "Velden", "-s", "Quendoria")
    newer = run("supersede", edit.id, *moved, "--json", *where).json
    assert (newer["id"], newer["version"]) == (edit.id, 2)
    assert run("show", edit.id, "--json", *where).json == newer
    old = run("show", edit.id, "--version", 1, "--json", *where).json
    assert old["request"]["target_new"] == "Lindhaven"

    gone = run("retract", edit.id, "--author", "ben", "--json", *where).json
    assert gone["status"] == "retracted"
    assert run("list", "--json", *where).json == []
    versions = run("history", edit.id, "--json", *where).json
    assert [version["request"]["target_new"] for version in versions][:2] == [
        "Lindhaven",
        "Velden",
    ]
    assert versions[-1]["status"] == "retracted"
    assert [e["id"] for e in run("list", "--status", "retracted", "--json", *where).json] == [
        edit.id
    ]

    again = run("retract", edit.id, "--json", *where)
    assert again.code == 1
    assert again.out == ""
    assert again.error["code"] == "conflict"


def test_people_get_tables_with_the_same_facts(run: Run, where: tuple[str, ...]) -> None:
    said = run("add", *CAPITAL, *where)
    assert said.code == 0 and "The capital of Quendoria is Lindhaven." in said.out
    ref = said.out.split()[0]
    for command in (
        ("list",),
        ("search", "Quendoria"),
        ("history", ref.split("@")[0]),
        ("show", ref),
    ):
        ran = run(*command, *where)
        assert ran.code == 0, ran.err
        assert "The capital of Quendoria is Lindhaven." in ran.out
        assert ran.err == ""
    assert "Lindhaven" in run("retract", ref.split("@")[0], *where).out


def test_what_is_not_there_is_one_line_and_exit_code_1(run: Run, where: tuple[str, ...]) -> None:
    run("add", *CAPITAL, *where)
    ran = run("show", "e-aaaaaaaaaaaa", *where)
    assert ran.code == 1
    assert ran.out == ""
    assert len(ran.err.splitlines()) == 1
    assert ran.err.startswith("memedit: ") and "e-aaaaaaaaaaaa" in ran.err


@pytest.mark.parametrize("command", ["list", "verify", "reindex", "export"])
def test_reading_makes_no_memory(run: Run, command: str) -> None:
    ran = run(command, "--memory", "sqlite:///slip.db")
    assert ran.code == 1 and "there is no edit memory at" in ran.err
    assert not Path("slip.db").exists()


def test_a_new_version_keeps_what_is_not_given_anew(run: Run, where: tuple[str, ...]) -> None:
    more = ("--rephrase", "Which city rules Quendoria?", "--alias", "the Quendor")
    until = ("--valid-to", "2100-01-01", "--ground-truth", "Oldport")
    old = run("add", *CAPITAL, *more, *until, "--json", *where).json
    again = ("The capital of Quendoria is", "Velden", "-s", "Quendoria")
    new = run("supersede", old["id"], *again, "--json", *where).json
    assert new["version"] == 2 and new["request"]["target_new"] == "Velden"
    assert new["valid_to"] == old["valid_to"]
    for name in ("rephrases", "aliases", "operation"):
        assert new["request"][name] == old["request"][name]
    assert new["request"]["ground_truth"] is None
    later = run("supersede", old["id"], *again, "--valid-to", "2101-01-01", "--json", *where).json
    assert later["valid_to"].startswith("2101-01-01")


def test_validity_and_erasure_are_said_in_words(run: Run) -> None:
    assert " expired 2001-01-01" in run("add", *CAPITAL, "--valid-to", "2001-01-01").out
    assert " not before 2100-01-01" in run("add", *CAPITAL, "--valid-from", "2100-01-01").out
    assert " live until 2100-01-01" in run("add", *CAPITAL, "--valid-to", "2100-01-01").out
    said = run("add", "The code of Vault 9 is", "I don't know", "-s", "Vault 9", "--operation",
               "erase").out  # fmt: skip
    assert 'live: The answer to "The code of Vault 9 is" is withheld.' in said
    assert "expired 2001-01-01" in run("list").out


def test_text_from_edits_is_never_read_as_markup(run: Run) -> None:
    run("add", "The sign [red]says[/red] [/nonsense]", "[bold]stop", "-s", "sign")
    ran = run("list")
    assert "[red]says[/red] [/nonsense] [bold]stop" in ran.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("add", "only a prompt"), "Missing argument 'TARGET'"),
        (("add", *CAPITAL[:2]), "--subject"),
        (("add", *CAPITAL, "--operation", "paint"), "paint"),
        (("list", "--status", "odd"), "'odd' is none of: live"),
        (("list", "--limit", "0"), "limit"),
        (("lsit",), "Did you mean 'list'?"),
        (("list", "--url", "http://x", "--memory", "sqlite://"), "not both"),
        (("add", *CAPITAL, "--valid-from", "tomorrow"), "tomorrow"),
        (("list", "--memory", "sqlite://", "--config", "absent.toml"), "absent.toml"),
        (("list", "--memory", "foo"), "expected sqlite:///FILE"),
        (("add", *CAPITAL, "--memory", "mysql://a@b/c"), "expected sqlite:///FILE"),
    ],
)
def test_misuse_is_one_line_and_exit_code_2(
    run: Run, arguments: tuple[str, ...], said: str
) -> None:
    ran = run(*arguments)
    assert ran.code == 2
    assert ran.out == ""
    assert len(ran.err.splitlines()) == 1 and said in ran.err
    as_json = run(*arguments, "--json")
    assert as_json.code == 2
    assert said in as_json.error["message"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("add", " ", "x", "-s", "y"), "prompt"),
        (("add", *CAPITAL, "-n", "no spaces"), "namespace"),
        (("add", *CAPITAL, "--valid-from", "2030-01-01", "--valid-to", "2020-01-01"), "valid_to"),
        (("add", *CAPITAL, "--memory", "sqlite:////no/such/x.db"), "cannot open the database"),
        (("list", "--memory", "sqlite:////no/such/x.db"), "there is no edit memory at /no/such/x"),
        (("list", "--url", "http://127.0.0.1:9"), "memedit serve"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_exit_code_1(
    run: Run, arguments: tuple[str, ...], said: str
) -> None:
    ran = run(*arguments)
    assert (ran.code, ran.out) == (1, "")
    assert len(ran.err.splitlines()) == 1 and said in ran.err


def test_the_proxy_and_key_may_come_from_the_environment(
    run: Run, serve: Callable[[Any], LiveServer]
) -> None:
    settings = Settings.read(
        flags={"memory": {"url": "sqlite://"}, "serve": {"admin_keys": ["letmein"]}}
    )
    with open_memory(settings=settings) as memory:
        proxy = serve(create_app(settings.serve, open_router(memory, settings), memory))
        refused = run("list", "--json", env={"MEMEDIT_URL": proxy.url})
        assert refused.code == 1 and refused.error["code"] == "unauthorized"
        right = {"MEMEDIT_URL": proxy.url, "MEMEDIT_KEY": "letmein"}
        assert run("list", "--json", env=right).json == []


def test_contradictions_are_said_and_settled_as_asked(run: Run) -> None:
    where = ("--memory", "sqlite:///disputed.db")
    old = run("add", *CAPITAL, "--json", *where).json
    assert "conflicts" not in old
    other = (CAPITAL[0], "Velden", *CAPITAL[2:])
    assert f"contradicts {old['id']}@1 (same prompt): kept" in run("add", *other, *where).out
    refused = run("add", CAPITAL[0], "Ost", *CAPITAL[2:], "--on-conflict", "reject", *where)
    assert refused.code == 1 and "nothing was stored" in refused.err
    new = run(
        "add", CAPITAL[0], "Ost", *CAPITAL[2:], "--on-conflict", "supersede", "--json", *where
    )
    assert {one["outcome"] for one in new.json["conflicts"]} == {"superseded", "retracted"}
    assert len(run("list", "--json", *where).json) == 1


def test_what_an_inverse_and_a_chain_contradict_is_said(run: Run) -> None:
    where = ("--memory", "sqlite:///implied.db")
    capital = run("add", *CAPITAL, "--json", *where).json["id"]
    turned = ("The country whose capital is", CAPITAL[1])
    said = run("add", " ".join((*turned, "is")), "Marovia", "--subject", CAPITAL[1], *where).out
    assert f"contradicts {capital}@1 (inverse: " in said and said.rstrip().endswith("kept")
    mayor = ("The mayor of Ost is", "Ansa Veld", "--subject", "Ost")
    home = ("The home town of Ansa Veld is", "Tromm", "--subject", "Ansa Veld")
    first, last = (run("add", *one, "--json", *where).json["id"] for one in (mayor, home))
    composed = ("The home town of the mayor of Ost is", "Dorn", "--subject", "Ost")
    said = run("add", *composed, *where).out
    assert f"contradicts {last}@1 (chain: together with {first}@1): kept" in said
    refused = run("add", *composed, "--on-conflict", "reject", *where)
    assert refused.code == 1 and "(chain), by" in refused.err


def test_an_erasure_that_no_answer_is_watched_for_says_so(run: Run) -> None:
    erase = ("add", "The code of Vault 9 is", "I cannot say.", "--subject", "Vault 9")
    assert "--ground-truth" in run(*erase, "--operation", "erase").out
    told = run(*erase, "--operation", "erase", "--ground-truth", "48-15-16", "-n", "other").out
    assert "--ground-truth" not in told
    assert "--ground-truth" not in run(*erase, "-n", "third").out
