"""The reference model behind the real engine: the mechanics of both methods, not its score."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.atlas import formats as fm
from memedit.agent import Ended, MultiHopAgent, Source
from memedit.agent.demonstrations import shipped_demonstrations
from memedit.agent.lines import read_lines
from memedit.agent.mello import Mello
from memedit.agent.pokemqa import Pokemqa
from memedit.config import Settings
from memedit.memory import EditMemory
from memedit.scope.base import Encoder
from memedit.types import EditRequest
from tests.agent.chains import DECOMPOSING
from tests.live_server import LiveServer

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "atlas" / "model"
FAULTS = {Ended.ENDPOINT_FAILED, Ended.MEMORY_FAILED}
CURRENCY = "What is the currency of the country that Abu Dhabi is in?"


@pytest.fixture(scope="module")
def atlas() -> Iterator[str]:
    """Serve Atlas with the embedded engine; yields its URL."""
    if not (FOLDER / "config.json").is_file():
        pytest.skip("examples/atlas/model is not there yet")
    from memedit.engine.app import create_engine_app
    from memedit.engine.loading import load_model

    loaded = load_model(FOLDER, name="atlas", device="cpu")
    with LiveServer(create_engine_app(loaded)) as server:
        yield server.url


@pytest.fixture
def memory(encoder: Encoder) -> Iterator[EditMemory]:
    fact = EditRequest(
        prompt="Abu Dhabi is located in the country of",
        subject="Abu Dhabi",
        target_new="Belgium",
        rephrases=("In which country is Abu Dhabi?",),
    )
    with EditMemory.open("sqlite://", encoder) as opened:
        opened.add([fact])
        yield opened


def test_pokemqa_follows_an_edit_through_the_real_engine(atlas: str, memory: EditMemory) -> None:
    agent = MultiHopAgent.open(
        memory,
        settings=Settings(),
        upstream=atlas,
        max_tokens=48,
        method=Pokemqa(demonstrations="", max_hops=2),
    )
    question = "What do people pay with in the country of Abu Dhabi?"
    one, two = asyncio.run(agent.ask_many([question, CURRENCY]))
    for trace in (one, two):
        assert trace.ended not in FAULTS and trace.model == "atlas"
        assert trace.entity == "Abu Dhabi"
        assert trace.usage.calls > len(trace.hops) > 0
        assert trace.usage.prompt_tokens > 0
    edited = [hop for hop in (*one.hops, *two.hops) if hop.source is Source.EDIT]
    assert edited and {hop.answer for hop in edited} == {"Belgium"}


def test_mello_shows_the_edit_through_the_real_engine(atlas: str, memory: EditMemory) -> None:
    agent = MultiHopAgent.open(
        memory,
        settings=Settings(),
        upstream=atlas,
        max_tokens=48,
        method=Mello(demonstrations="", max_hops=2),
    )
    trace = agent.ask(CURRENCY)
    assert trace.ended not in FAULTS
    [fact] = {hop.fact for hop in trace.hops}
    assert fact == "Abu Dhabi is located in the country of Belgium."
    assert all(hop.conflict is not None for hop in trace.hops)


@pytest.mark.parametrize("method", DECOMPOSING)
def test_shipped_demonstrations_have_the_lines_that_atlas_was_trained_on(method: str) -> None:
    templates = [
        *(fm.MELLO_QUESTION, fm.MELLO_SUBQUESTION, fm.MELLO_ANSWER, fm.MELLO_FACT, fm.FINAL),
        *(fm.MELLO_CONTRADICTS, fm.MELLO_AGREES, fm.POKEMQA_ENTITY, fm.POKEMQA_ENTITY_OF_SUB),
    ]
    known = {template.split("{")[0] for template in templates}
    _, *questions = shipped_demonstrations(method).strip().split("\n\n")
    assert len(questions) == 4
    for line in "\n".join(questions).splitlines():
        [start] = [start for start in known if line.startswith(start)]
        assert len(read_lines(line)) == 1 and str(read_lines(line)[0]) == line, start
