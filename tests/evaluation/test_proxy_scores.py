"""Targets scored over HTTP: the arithmetic at a made-up server, and a real model behind a proxy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from memedit.cli.eval_parts import open_proxy
from memedit.cli.routed_edits import routed_edits
from memedit.config import Settings
from memedit.engine.app import create_engine_app
from memedit.errors import UpstreamError, UpstreamUnreachable
from memedit.evaluation.local import LocalModel
from memedit.evaluation.prompting import InContext
from memedit.evaluation.protocols import Forced
from memedit.evaluation.proxy import Proxy, ProxyModel
from memedit.evaluation.proxy_scores import BYPASS, EchoScores, Put
from memedit.evaluation.settings import Mode
from memedit.memory import EditMemory
from memedit.scope.base import Encoder
from memedit.serving.app import create_app
from memedit.types import EditRequest
from memedit.wiring import open_router
from tests.live_server import LiveServer

CAPITAL = "The capital of Quendoria is"
INSERTED = "Imagine that it is so.\n"
ATLAS = Path(__file__).parents[2] / "examples" / "atlas" / "model"


class Letters:
    """A server whose tokens are letters.

    What is asked in the namespace `edited` gets a text in front of it. A letter's log-probability
    is minus its place in the text that the model sees; vowels are the most probable ones, and in
    the place of other letters it is a z with half of that.
    """

    def __init__(self, *, lacks: str = "", longest: int = 1_000) -> None:
        self.lacks = lacks
        self.longest = longest
        self.asked: list[tuple[str, Any, Mapping[str, str]]] = []

    def __call__(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> tuple[Any, Mapping[str, str]] | None:
        self.asked.append((path, body, headers))
        if path == "/tokenize":
            return {"tokens": self._ids(self._text(body))}, {}
        if body.get("echo"):
            return self._echoed(body)
        edited = headers.get("x-memedit-namespace") == "edited"
        text = f"{INSERTED if edited else ''}{self._text(body)}"
        if len(text) > self.longest:
            return None
        told = {} if self.lacks == "ids" else {"prompt_token_ids": self._ids(text)}
        answer = {"choices": [{"text": "?", **told}], **told}
        return answer, {"x-memedit-adapter": "lora-1"} if headers.get("x-adapted") else {}

    def _echoed(self, body: Mapping[str, Any]) -> tuple[Any, Mapping[str, str]] | None:
        text = "".join(map(chr, body["prompt"]))
        if len(text) > self.longest:
            return None
        logs: list[float | None] = [-float(place) for place in range(len(text))]
        tops: list[dict[str, float] | None] = [
            {letter: -float(place)} | ({} if letter in "aeiou" else {"z": -place / 2})
            for place, letter in enumerate(text)
        ]
        logs[0] = tops[0] = None  # nothing stands before it
        told = {"tokens": [*text], "token_logprobs": logs, "top_logprobs": tops}
        choice = {"text": text, "logprobs": None if self.lacks == "logprobs" else told}
        return {"choices": [choice]}, {}

    def _text(self, body: Mapping[str, Any]) -> str:
        if "messages" not in body:
            return str(body["prompt"])
        turns = "".join(f"<{m['role'][0]}>{m['content']}</>" for m in body["messages"])
        if body.get("continue_final_message"):
            return turns.removesuffix("</>")
        return f"{turns}<a>" if body.get("add_generation_prompt", True) else turns

    def _ids(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]


def put(prompt: str, *, chat: bool = False, **headers: str) -> Put:
    named = {f"x-{name.replace('_', '-')}": value for name, value in headers.items()}
    return Put(prompt, chat, (*named.items(),))


def test_a_targets_places_are_those_behind_what_was_inserted() -> None:
    server = Letters()
    plain, edited, chat = EchoScores(server, "toy").score(
        [
            put("Say", memedit_bypass="1"),
            put("Say", memedit_namespace="edited"),
            put("Say?", chat=True, memedit_namespace="edited"),
        ],
        ["be"] * 3,
    )
    # "Say be": the space stands third, counted from 0
    assert plain == Forced((False, False, True), (-3.0, -4.0, -5.0), plain.predicted)
    n = len(INSERTED)
    assert edited.log_probability == (-3.0 - n, -4.0 - n, -5.0 - n)
    assert edited.correct == plain.correct
    assert edited.predicted == plain.predicted  # z, z, and the e itself
    assert edited.predicted[0] == edited.predicted[1] != edited.predicted[2] == ord("e")
    start = len(f"{INSERTED}<u>Say?</><a>")
    assert chat == Forced((False, True), (-start - 0.0, -start - 1.0), plain.predicted[1:])


def test_edits_are_found_for_the_prompt_alone_and_past_them_goes_what_is_scored() -> None:
    server = Letters()
    EchoScores(server, "toy").score(
        [put("Say", memedit_namespace="edited"), put("Say", other="1")] * 2, ["be"] * 4
    )
    asked = [(body, headers) for path, body, headers in server.asked if "return_token_ids" in body]
    assert [body["prompt"] for body, _ in asked] == ["Say", "Say"], "equal ones once"
    echoed = [(body, headers) for _, body, headers in server.asked if "echo" in body]
    assert len(echoed) == 2 and all(headers == BYPASS for _, headers in echoed)
    assert {body["model"] for body, _ in echoed} == {"toy"}
    assert not any(
        headers.get("x-memedit-namespace")
        for path, _, headers in server.asked
        if path == "/tokenize"
    )


def test_an_adapter_that_the_proxy_chose_is_asked_for_the_score() -> None:
    server = Letters()
    EchoScores(server, "toy").score([put("Say", adapted="1")], ["be"])
    [echoed] = [body for _, body, _ in server.asked if "echo" in body]
    assert echoed["model"] == "lora-1"


@pytest.mark.parametrize("longest", [5, len("Say be") - 1, len("Say be")])
def test_what_is_too_long_has_no_probability(longest: int) -> None:
    [found] = EchoScores(Letters(longest=longest), "toy").score([put("Say")], ["be"])
    finite = longest >= len("Say be")
    assert all(map(math.isfinite, found.log_probability)) is finite
    assert len(found.correct) == len(found.predicted) == 3


@pytest.mark.parametrize("lacks", ["ids", "logprobs"])
def test_a_server_that_cannot_do_it_is_found_out(lacks: str) -> None:
    scores = EchoScores(Letters(lacks=lacks), "toy")
    assert not scores.possible()
    with pytest.raises(UpstreamError, match="the server does not give"):
        scores.score([put("Say")], ["be"])
    assert EchoScores(Letters(), "toy").possible()


def test_a_server_that_is_not_there_is_no_server_without_scores() -> None:
    def nobody(*_: Any) -> None:
        raise UpstreamUnreachable("nobody there")

    with pytest.raises(UpstreamUnreachable):
        EchoScores(nobody, "toy").possible()


@pytest.fixture(scope="module")
def local() -> LocalModel:
    return LocalModel.load(ATLAS, dtype="float32", device="cpu")


@pytest.fixture
def opened(
    serve: Callable[[Any], LiveServer], tmp_path: Path, encoder: Encoder
) -> Iterator[tuple[ProxyModel, Proxy]]:
    """A proxy in front of memedit's engine, with the in-context method that is compared with."""
    engine = serve(create_engine_app(ATLAS, served_model_name="atlas", dtype="float32")).url
    given = {"serve": {"upstream": engine}, "incontext": {"chat": "ice", "completion": "ice"}}
    settings = Settings.read(None, given)
    with EditMemory.open(f"sqlite:///{tmp_path / 'edits.db'}", encoder) as memory:
        url = serve(create_app(settings.serve, open_router(memory, settings), memory)).url
        with open_proxy(url, form="auto", served=None, key=None, admin_key=None) as both:
            yield both


def same(found: Sequence[Forced], expected: Sequence[Forced]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.log_probability == pytest.approx(other.log_probability, abs=2e-4)
        assert one.correct == other.correct
        right = [a == b for a, b in zip(one.predicted, other.predicted, strict=True)]
        assert [r for r, c in zip(right, one.correct, strict=True) if c] == [True] * sum(
            one.correct
        )


def test_scores_over_http_are_those_of_the_checkpoint_itself(
    opened: tuple[ProxyModel, Proxy], local: LocalModel, encoder: Encoder
) -> None:
    model, proxy = opened
    edit = EditRequest(prompt=CAPITAL, subject="Quendoria", target_new="Lindhaven")
    questions = {
        CAPITAL: "Lindhaven",
        "What is the capital of Quendoria?": "Lindhaven",
        "The capital of France is": "Paris",
        "Which city is the capital of France?": "Berlin",
    }
    prompts, targets, owners = [*questions], [*questions.values()], [0] * len(questions)
    assert model.scores
    unedited = model.score(prompts, targets)
    same(unedited, local.score(prompts, targets))
    settings = Settings.read(None, {})
    with ExitStack() as stack:
        ice = InContext("ice", routed_edits("ice", encoder, settings, stack), local)
        over_http = stack.enter_context(proxy.session([(edit,)], Mode.BATCH))
        beside = stack.enter_context(ice.session([(edit,)], Mode.BATCH))
        assert over_http.scores
        edited = over_http.score(prompts, owners, targets)
        same(edited, beside.score(prompts, owners, targets))
    for place, (one, before) in enumerate(zip(edited, unedited, strict=True)):
        moved = sum(one.log_probability) - sum(before.log_probability)
        assert moved > 1 if place < 2 else moved == pytest.approx(0, abs=1e-3)
