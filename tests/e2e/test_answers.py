"""The product: an edit is added, and the next answer has it, on every wire format, streamed or not.

The scenes are those of the demo, and the model is the one it is made for.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.stack import REPOSITORY, Proxy, Vllm
from tests.e2e.wires import COMPLETIONS, WIRES, Wire

SCENES = REPOSITORY / "examples" / "atlas" / "data" / "demo.json"


@pytest.fixture(scope="module")
def scenes() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(SCENES.read_text(encoding="utf-8"))["scenes"]
    assert found
    return found


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_before_and_after_and_taken_back(
    wire: Wire,
    stream: bool,
    vllm: Vllm,
    proxy: Proxy,
    namespace: str,
    scenes: list[dict[str, Any]],
) -> None:
    for scene in scenes:
        questions = _questions(wire, scene)
        asking = (wire, list(questions), stream, namespace)
        direct = [text for text, _ in _ask(vllm.url, *asking)]
        before = _ask(proxy.url, *asking)
        [edit] = proxy.add(scene["edit"], namespace=namespace)
        after = _ask(proxy.url, *asking)
        proxy.retract(edit)
        retracted = _ask(proxy.url, *asking)

        # Without an edit the proxy is not there.
        assert before == [(text, "pass") for text in direct]
        assert retracted == before
        for (question, expected), (old, _), (new, route) in zip(
            questions.items(), before, after, strict=True
        ):
            if expected is None:
                assert (new, route) == (old, "pass"), question
            else:
                assert route == "in_context", question
                assert _says(old, expected["before"]), (question, old)
                assert _says(new, expected["after"]), (question, new)
                assert not _says(new, expected["before"]), (question, new)


def _ask(
    url: str, wire: Wire, questions: list[str], stream: bool, namespace: str
) -> list[tuple[str, str | None]]:
    """Return text and route of every answer."""
    answers = (wire.ask(url, q, stream=stream, x_memedit_namespace=namespace) for q in questions)
    return [(text, answer.route) for text, answer in answers]


def _questions(wire: Wire, scene: dict[str, Any]) -> dict[str, dict[str, str] | None]:
    """Map each question to what is expected of it, unrelated ones to ``None``."""
    asked = {one["ask"]: None if one["kind"] == "unrelated" else one for one in scene["questions"]}
    if wire is not COMPLETIONS:
        return asked
    # A bare model continues texts: it is given the edit's own prompt, which is one.
    edit = scene["edit"]
    expected = {"before": edit["ground_truth"], "after": edit["target_new"]}
    others = {text: None for text, expected in asked.items() if expected is None}
    return {edit["prompt"]: expected, **others}


def _says(answer: str, expected: str) -> bool:
    return expected.casefold() in answer.casefold()


def test_a_newer_version_is_answered_at_once(
    vllm: Vllm, proxy: Proxy, namespace: str, scenes: list[dict[str, Any]]
) -> None:
    """Superseding: the next request has the new version, the history both."""
    chat = WIRES[0]
    edit, other = scenes[0]["edit"], scenes[1]["edit"]["target_new"]
    question = next(one["ask"] for one in scenes[0]["questions"] if one["kind"] == "edited")
    [edit_id] = proxy.add(edit, namespace=namespace)
    newer = edit | {"target_new": other, "statement": None}
    assert proxy.api("PUT", f"/edits/{edit_id}", {"request": newer}).status == 200
    _, answer = chat.ask(proxy.url, question, x_memedit_namespace=namespace)
    assert answer.edits == [f"{edit_id}@2"]
    history = proxy.api("GET", f"/edits/{edit_id}/history").json()["edits"]
    assert [one["version"] for one in history][:2] == [1, 2]
