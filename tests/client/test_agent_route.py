"""The agent under the official SDK, without a proxy and by the real classifier."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

import memedit
from memedit.config import Settings
from memedit.errors import InvalidInputError, SettingsError, UpstreamTimeout
from memedit.memory import EditMemory
from memedit.wiring import open_answerer
from tests.agent.scripted import Scripted
from tests.client.conftest import CAPITAL

QUESTION = "Who is the mayor of the capital of Quendoria?"
SCRIPT = (
    " Quendoria",
    "\nSubquestion: What is the capital of Quendoria?\n",
    "\nSubquestion: Who is the mayor of Lindhaven?\n",
    " The mayor of Lindhaven is Petra.",
    "\nAccording to Generated answer, the entity of Subquestion is: Petra.\nFinal answer: Petra.",
)
ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": QUESTION}]}


def settings(**agent: Any) -> Settings:
    return Settings.read(flags={"routing": {"dependent": "agent"}, "agent": agent})


def test_the_agent_answers_in_the_place_of_the_model(memory: EditMemory) -> None:
    [edit] = memory.add([CAPITAL])
    upstream = Scripted([*SCRIPT, *SCRIPT])
    with (
        memedit.http_client(memory, settings=settings(), transport=upstream.transport()) as http,
        openai.OpenAI(base_url="http://model.test/v1", api_key="k", http_client=http) as sdk,
    ):
        reply = sdk.chat.completions.with_raw_response.create(**ASKED)
        assert reply.headers["x-memedit-route"] == "agent"
        assert reply.headers["x-memedit-edits"] == edit.ref
        answer = reply.parse()
        assert answer.choices[0].message.content == "Petra"
        assert answer.usage is not None and answer.usage.total_tokens == 75
        pieces = list(sdk.completions.create(model="m", prompt=QUESTION, stream=True))
        assert "".join(one.choices[0].text for one in pieces) == " Petra"
    assert {body["model"] for body in upstream.bodies} == {"m"}


def test_and_asynchronously_or_else_in_context(memory: EditMemory) -> None:
    [edit] = memory.add([CAPITAL])

    async def ask(script: list[Any]) -> tuple[str | None, Any]:
        upstream = Scripted(script)
        http = memedit.async_http_client(
            memory, settings=settings(), transport=upstream.transport()
        )
        async with openai.AsyncOpenAI(
            base_url="http://model.test/v1", api_key="k", http_client=http, max_retries=0
        ) as sdk:
            reply = await sdk.chat.completions.with_raw_response.create(**ASKED)
            return reply.parse().choices[0].message.content, reply.headers

    answer, headers = asyncio.run(ask([*SCRIPT]))
    assert (answer, headers["x-memedit-route"]) == ("Petra", "agent")
    answer, headers = asyncio.run(ask([UpstreamTimeout("late"), "The mayor is Anne."]))
    assert (answer, headers["x-memedit-route"]) == ("The mayor is Anne.", "in_context")
    assert headers["x-memedit-note"] == "agent-failed:endpoint_failed"
    assert headers["x-memedit-edits"] == edit.ref


def test_the_settings_choose_method_and_demonstrations() -> None:
    assert open_answerer(Settings.read()) is None, "edits go into the context by default"
    chosen: Any = open_answerer(settings(method="mello", demonstrations="none", max_hops=2))
    assert (chosen.method.registered_name, chosen.method.max_hops) == ("mello", 2)
    assert chosen.method.demonstrations == ""
    with pytest.raises(SettingsError, match=r"agent\.method.*Did you mean 'mello'"):
        open_answerer(settings(method="melo"))
    with pytest.raises(InvalidInputError, match=r"nowhere\.txt"):
        open_answerer(settings(demonstrations="nowhere.txt"))
    with pytest.raises(SettingsError, match=r"routing\.dependent"):
        Settings.read(flags={"routing": {"dependent": "agents"}})
