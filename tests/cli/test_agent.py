"""agent and replay: multi-hop questions from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from memedit.routing import NeedUpstream
from tests.agent.scripted import Scripted
from tests.cli.conftest import Run
from tests.live_server import LiveServer

QUESTION = "Who is the mayor of the capital of Quendoria?"
SCRIPT = [
    " Quendoria",
    "\nSubquestion: What is the capital of Quendoria?\n",
    "\nSubquestion: Who is the mayor of Lindhaven?\n",
    " The mayor of Lindhaven is [bold]Petra[/bold].",
    "\nAccording to Generated answer, the entity of Subquestion is: Petra.\nFinal answer: Petra.",
]


@pytest.fixture
def speak(serve: Callable[[Any], LiveServer]) -> Callable[[list[Any]], tuple[Scripted, str]]:
    """Serve a script on a port of its own."""

    def start(script: list[Any]) -> tuple[Scripted, str]:
        scripted = Scripted(script)

        async def answer(request: Request) -> Response:
            step = NeedUpstream(request.method, request.url.path, await request.body())
            reply = scripted(step)
            return Response(reply.body, reply.status, media_type="application/json")

        app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])
        return scripted, serve(app).url

    return start


def test_a_question_is_answered_with_its_whole_trace(
    run: Run, added: dict[str, Any], speak: Callable[[list[Any]], tuple[Scripted, str]]
) -> None:
    scripted, url = speak(SCRIPT)
    ran = run("agent", QUESTION, "--upstream", url, "--json")
    assert ran.code == 0
    [trace] = ran.json
    assert (trace["answer"], trace["ended"], trace["method"]) == (
        "Petra",
        "final_answer",
        "pokemqa",
    )
    assert trace["edits"] == [f"{added['id']}@1"]
    assert [hop["answer"] for hop in trace["hops"]] == ["Lindhaven", "Petra"]
    assert [hop["source"] for hop in trace["hops"]] == ["edit", "model"]
    assert trace["hops"][0]["candidates"][0]["statement"] == added["statement"]
    assert scripted.prompts[0].endswith(f"Question: {QUESTION}\nEntity of Question:")


def test_traces_are_shown_to_people_and_markup_stays_text(
    run: Run, added: dict[str, Any], speak: Callable[[list[Any]], tuple[Scripted, str]]
) -> None:
    plain = run("agent", QUESTION, "--upstream", speak(SCRIPT)[1])
    assert plain.out.strip() == "Petra"
    assert "final_answer" in plain.err and f"{added['id']}@1" in plain.err
    shown = run("agent", QUESTION, "--upstream", speak(SCRIPT)[1], "--trace").out
    for part in (QUESTION, "1. What is the capital", "read off the edit: Lindhaven", "[bold]Petra"):
        assert part in shown
    assert "5 calls" in shown


def test_several_questions_of_which_one_has_no_answer(
    run: Run,
    added: dict[str, Any],
    tmp_path: Path,
    speak: Callable[[list[Any]], tuple[Scripted, str]],
) -> None:
    (tmp_path / "questions.txt").write_text('{"prompt": "Who leads it?"}\nAnd where is it?\n')
    hop = "\nSubquestion: What is the capital of Quendoria?\nGenerated answer: I forgot."
    scripted, url = speak(
        [
            hop,
            "\nRetrieved fact contradicts to generated answer, so the intermediate answer is: "
            "Lindhaven.\nFinal answer: Lindhaven.",
            "The weather is fine.",
        ]
    )
    ran = run(
        *("agent", "--file", "questions.txt", "--method", "mello", "--upstream", url),
        *("--concurrency", 1, "--demonstrations", "none", "--chat", "--model", "m"),
    )
    assert ran.code == 1
    assert ran.out.splitlines()[0] == "Lindhaven"
    assert "no answer: the model wrote neither" in ran.out
    assert scripted.prompts[0] == "Question: Who leads it?"
    assert scripted.bodies[0]["messages"][0]["role"] == "user"


def test_an_endpoint_that_is_not_there_is_said(run: Run) -> None:
    ran = run("agent", "Who?", "--upstream", "http://127.0.0.1:9", "--json")
    assert ran.code == 1
    assert ran.json[0]["ended"] == "endpoint_failed" and "127.0.0.1:9" in ran.json[0]["error"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "give questions"),
        (("Who?", "--method", "melo"), 2, "Did you mean 'mello'"),
        (("Who?", "--hops", 99), 1, "max_hops 99"),
        (("Who?", "--demonstrations", "nowhere.txt"), 1, "nowhere.txt"),
        (("Who?", "--demonstrations", "short.txt"), 1, "Entity of Question"),
        (("Who?", "--upstream", "model"), 1, "no URL"),
        (("--file", "talk.jsonl"), 1, "not conversations"),
    ],
)
def test_misuse_is_named(
    run: Run, tmp_path: Path, arguments: tuple[object, ...], code: int, said: str
) -> None:
    (tmp_path / "short.txt").write_text("Question: Who?\nFinal answer: Me.")
    (tmp_path / "talk.jsonl").write_text('{"messages": [{"role": "user", "content": "Who?"}]}')
    ran = run("agent", *arguments, "--json")
    assert ran.code == code and said in ran.error["message"]


def test_replay_counts_chains_and_lists_the_corrupted(run: Run, tmp_path: Path) -> None:
    from tests.agent.test_replay import case

    cases = [case(1, "the Iron Bridge", "England", "Marovia")]
    cases.append(case(2, "the Iron Bridge", "England", "Norland"))
    (tmp_path / "mquake.json").write_text(json.dumps(cases), encoding="utf-8")
    ran = run("replay", "mquake.json", "--json")
    assert ran.code == 0
    assert [one["case"] for one in ran.json["corrupted"]] == ["1", "2"]
    assert ran.json["sound"] == [{"hops": None, "n": 0, "right": None, "outcomes": {}}]
    alone = run("replay", "mquake.json", "--setting", "single", "--method", "mello")
    assert "1.0000" in alone.out and "without corrupted" in alone.out
    limited = run("replay", "mquake.json", "--limit", 1, "--no-rephrases", "--json").json
    assert limited["all"][-1]["n"] == 1
