"""route and ask: what would be done with a prompt, and the answer itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memedit.config import Settings
from memedit.serving.app import create_app
from memedit.wiring import open_memory, open_router
from tests.cli.conftest import Run
from tests.client.toy_model import ToyModel
from tests.live_server import LiveServer

ASKED = "What is the capital of Quendoria?"
UNRELATED = "How many legs does a spider have?"


def test_route_of_a_file_says_everything_for_each_prompt(
    run: Run, added: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "prompts.jsonl"
    turns = [{"role": "user", "content": "Hi!"}, {"role": "user", "content": ASKED}]
    lines = [
        json.dumps({"prompt": ASKED}),
        json.dumps({"messages": turns, "model": "any"}),
        "",
        UNRELATED,
        json.dumps("a string: " + UNRELATED),
        '"To be or not to be" is from which play?',
    ]
    file.write_text("\n".join(lines), encoding="utf-8")
    ran = run("route", "--file", file, "--json")
    assert ran.code == 0
    asked, talk, *others = ran.json
    assert [line["prompt"] for line in ran.json] == [
        ASKED,
        turns,
        UNRELATED,
        f"a string: {UNRELATED}",
        '"To be or not to be" is from which play?',
    ]
    for line in (asked, talk):
        assert (line["action"], line["scope"]) == ("in_context", "direct")
        assert line["edits"] == [f"{added['id']}@1"]
        assert line["probabilities"]["direct"] > 0.5
    for line in others:
        assert (line["action"], line["scope"], line["edits"]) == ("pass", "unrelated", [])
        assert line["probabilities"]["unrelated"] > 0.5
    for line in ran.json:
        assert sum(line["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert asked["considered"][0]["statement"] == added["statement"]


def test_route_through_a_proxy_says_the_same(
    run: Run, added: dict[str, Any], serve: Callable[[Any], LiveServer]
) -> None:
    settings = Settings.read()
    with open_memory(settings=settings) as memory:
        proxy = serve(create_app(settings.serve, open_router(memory, settings), memory))
        here = run("route", ASKED, UNRELATED, "--json").json
        there = run("route", ASKED, UNRELATED, "--json", "--url", proxy.url).json
    assert here == there


def test_route_says_what_the_agent_would_answer(run: Run, added: dict[str, Any]) -> None:
    further = "Who is the mayor of the capital of Quendoria?"
    plain = run("route", further, ASKED, "--json").json
    assert [(one["scope"], one["action"]) for one in plain] == [
        ("dependent", "in_context"),
        ("direct", "in_context"),
    ]
    set_to_agent = {"MEMEDIT_ROUTING__DEPENDENT": "agent", "MEMEDIT_AGENT__METHOD": "mello"}
    told = run("route", further, ASKED, "--json", env=set_to_agent).json
    assert [(one["action"], one["method"]) for one in told] == [
        ("agent", "mello"),
        ("in_context", "statement"),
    ]
    assert told[0]["edits"] == plain[0]["edits"] == [f"{added['id']}@1"]


def test_route_for_people_and_with_a_threshold(run: Run, added: dict[str, Any]) -> None:
    ran = run("route", ASKED, UNRELATED)
    assert "in_context" in ran.out and "out_of_scope" in ran.out and added["id"] in ran.out
    [forced] = run("route", UNRELATED, "--threshold", 0, "--json").json
    assert forced["action"] == "in_context"
    [elsewhere] = run("route", ASKED, "-n", "elsewhere", "--json").json
    assert (elsewhere["action"], elsewhere["reason"]) == ("pass", "no_edits")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"prompt": 7}', "line 1"),
        ('{"messages": []}', "line 1"),
        ("{broken", "line 1 is not valid JSON"),
        ('{"messages": [{"role": "assistant", "content": "x"}]}', "ask nothing"),
    ],
)
def test_prompts_that_cannot_be_read_are_named(
    run: Run, added: dict[str, Any], tmp_path: Path, line: str, said: str
) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(line, encoding="utf-8")
    ran = run("route", "--file", file, "--json")
    assert ran.code == 1 and said in ran.error["message"]


def test_route_without_prompts_is_misuse(run: Run, tmp_path: Path) -> None:
    assert run("route").code == 2
    (empty := tmp_path / "empty.jsonl").write_text("\n", encoding="utf-8")
    ran = run("route", "--file", empty)
    assert ran.code == 2 and "empty.jsonl holds none" in ran.err.replace("\n", "")


def test_route_makes_no_memory_where_there_is_none(run: Run, tmp_path: Path) -> None:
    ran = run("route", ASKED, "--memory", f"sqlite:///{tmp_path / 'nowhere.db'}")
    assert ran.code == 1 and "nowhere.db" in ran.err.replace("\n", "")
    assert not (tmp_path / "nowhere.db").exists()


@pytest.fixture
def toy(serve: Callable[[Any], LiveServer]) -> tuple[ToyModel, str]:
    model = ToyModel()
    return model, serve(model).url


def test_ask_with_no_proxy_puts_the_edit_in(
    run: Run, added: dict[str, Any], toy: tuple[ToyModel, str]
) -> None:
    model, url = toy
    ran = run("ask", ASKED, "--upstream", url, "--json")
    assert ran.code == 0
    assert "Lindhaven" in ran.json["answer"] and ran.json["route"] == "in_context"
    assert ran.json["edits"] == f"{added['id']}@1"
    assert ran.json["model"] == "toy"
    plain = run("ask", ASKED, "--upstream", f"{url}/v1", "--bypass", "--model", "toy")
    assert plain.out.strip() == ASKED
    assert "bypassed" in plain.err
    continued = run("ask", "The capital of Quendoria is", "--upstream", url, "--completion")
    assert "Lindhaven" in continued.out
    assert model.received[-1].path == "/v1/completions"


def test_ask_through_a_proxy(
    run: Run, added: dict[str, Any], toy: tuple[ToyModel, str], serve: Callable[[Any], LiveServer]
) -> None:
    settings = Settings.read(
        flags={"serve": {"upstream": toy[1], "inference_keys": ["ask-me"], "admin_keys": ["a"]}}
    )
    with open_memory(settings=settings) as memory:
        proxy = serve(create_app(settings.serve, open_router(memory, settings), memory))
        ran = run("ask", ASKED, "--url", proxy.url, "--key", "ask-me", "--json")
        assert "Lindhaven" in ran.json["answer"] and ran.json["method"] == "statement"
        other = run("ask", ASKED, "--url", proxy.url, "--key", "ask-me", "-n", "empty", "--json")
        assert other.json["answer"] == ASKED
        refused = run("ask", ASKED, "--url", proxy.url, "--json")
        assert refused.code == 1 and "401" in refused.error["message"]


def test_ask_says_when_the_model_is_not_there_or_is_no_model(
    run: Run, toy: tuple[ToyModel, str]
) -> None:
    gone = run("ask", ASKED, "--upstream", "http://127.0.0.1:9", "--json")
    assert gone.code == 1 and gone.error["code"] == "upstream_unreachable"
    toy[0].fail_with = 500
    broken = run("ask", ASKED, "--upstream", toy[1], "--model", "toy", "--json")
    assert broken.error["code"] == "upstream_error" and "the toy broke" in broken.error["message"]
    assert run("ask", ASKED, "--url", toy[1], "--upstream", toy[1]).code == 2
