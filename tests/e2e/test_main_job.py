"""The main job on real input: thousands of KnowEdit edits, real encoder, real vLLM.

The command line imports them into the memory of a proxy that runs all the while.  What fires is
written down and shown in pytest's summary: ``cosine`` is an honest baseline, not the last word.
What must hold whatever fires: the prompt that vLLM sees tells the facts of the edits named in the
answer's header and no others, and what passes crosses byte for byte.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.facts import UNRELATED
from tests.e2e.findings import FINDINGS
from tests.e2e.relay import Relay
from tests.e2e.stack import Proxy, Vllm, data_folder
from tests.e2e.wires import WIRES, Answer, Wire, post

FILES = ("wiki_recent_train", "wiki_counterfact_train", "zsre_dev", "wikibio_train")
PER_KIND = 60


@dataclass(frozen=True)
class Question:
    kind: str
    text: str
    target: str | None = None
    """The new answer of the edit that is to fire; ``None``: none is."""
    subject: str = ""


@pytest.fixture(scope="module")
def knowedit() -> Path:
    folder = data_folder() / "knowedit"
    if not folder.is_dir():
        pytest.skip(f"no KnowEdit in {folder}; MEMEDIT_DATA names another folder")
    return folder


@pytest.fixture(scope="module")
def crowded(
    relay: Relay, knowedit: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """A proxy into whose memory another process has imported thousands of edits meanwhile."""
    with Proxy(tmp_path_factory.mktemp("crowded"), relay.url) as proxy:
        for name in FILES:
            told = proxy.cli("import", str(knowedit / f"{name}.json"), "--no-rephrases")
            # Two records of a file may be the same edit but for what an edit does not keep.
            assert 0.99 * told["read"] <= told["stored"] <= told["read"], told
            unnamed = [one for one in told["skipped"] if not (one["record"] and one["reason"])]
            assert not unnamed
        yield proxy


def _records(folder: Path, name: str) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads((folder / f"{name}.json").read_text())
    return records


def _questions(folder: Path) -> list[Question]:
    rng = random.Random(5)
    facts = [one for name in FILES[:3] for one in _records(folder, name)]
    zsre = _records(folder, "zsre_dev")
    own, rephrased, near = (rng.sample(pool, PER_KIND) for pool in (facts, zsre, facts))
    questions = [Question("own", r["prompt"], r["target_new"], r["subject"]) for r in own]
    questions += [
        Question("rephrased", r["rephrase_prompt"], r["target_new"], r["subject"])
        for r in rephrased
    ]
    for record in near:
        local = [one for group in (record.get("locality") or {}).values() for one in group]
        if local:
            questions.append(Question("same subject", rng.choice(local)["prompt"]))
    questions += [Question("far", text) for text in UNRELATED]
    rng.shuffle(questions)
    return questions


@pytest.mark.data
@pytest.mark.timeout(900)
def test_thousands_of_edits(vllm: Vllm, crowded: Proxy, relay: Relay, knowedit: Path) -> None:
    stats = crowded.api("GET", "/stats").json()
    edits = _all_edits(crowded)
    assert len(edits) > 3_000, stats
    assert crowded.cli("verify")["ok"]
    questions = _questions(knowedit)

    def ask(number: int) -> tuple[Wire, bytes, Answer]:
        wire = WIRES[number % len(WIRES)]
        body = json.dumps(wire.body(questions[number].text, tokens=12)).encode()
        return wire, body, post(crowded.url, wire.path, body, x_mark=f"job-{number}")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(len(questions))))
    bodies = relay.bodies("x-mark")
    fired, right, told, asked = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for number, (question, (wire, body, answer)) in enumerate(zip(questions, answers, strict=True)):
        seen = bodies[f"job-{number}"]
        assert answer.status == 200, (question, answer.body)
        asked[question.kind] += 1
        if answer.route == "pass":
            assert seen == body
            continue
        assert answer.route == "in_context"
        fired[question.kind] += 1
        applied = [edits[ref.partition("@")[0]] for ref in answer.edits]
        prompt = _text(json.loads(seen))
        assert question.text in prompt
        for edit in applied:
            assert edit["request"]["target_new"] in prompt, (question, edit)
        if question.target in {edit["request"]["target_new"] for edit in applied}:
            right[question.kind] += 1
            told[question.kind] += str(question.target).lower() in wire.read(answer.json()).lower()
    FINDINGS.append(f"{len(edits)} KnowEdit edits live; of each kind of prompt:")
    FINDINGS.extend(
        f"  {kind:13} {asked[kind]:3} asked, {fired[kind]:3} fired, {right[kind]:3} with the right"
        f" edit, {told[kind]:3} answered with it"
        for kind in sorted(asked)
    )
    assert right["own"] >= 0.95 * asked["own"]
    assert right["rephrased"] >= 0.5 * asked["rephrased"]
    assert fired["far"] == 0


def _all_edits(proxy: Proxy) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    after = ""
    while page := proxy.api("GET", f"/edits?limit=1000{after}").json()["edits"]:
        found |= {edit["id"]: edit for edit in page}
        after = f"&after={page[-1]['id']}"
    return found


def _text(value: Any) -> str:
    """Return all strings of a body, in their order."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "\n".join(map(_text, value.values()))
    return "\n".join(map(_text, value)) if isinstance(value, list) else ""


@pytest.mark.data
def test_the_same_decisions_from_the_command_line(crowded: Proxy, knowedit: Path) -> None:
    """``memedit route --file``: for each prompt scope, edits, probabilities and action."""
    prompts = [question.text for question in _questions(knowedit)[:40]]
    file = crowded.folder / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in prompts))
    told = crowded.cli("route", "--file", str(file))
    routes = told["routes"] if isinstance(told, dict) else told
    assert len(routes) == len(prompts)
    for text, route in zip(prompts, routes, strict=True):
        served = crowded.api("POST", "/route", {"prompts": [text]}).json()["routes"][0]
        assert route["action"] == served["action"]
        assert route["edits"] == served["edits"]
        assert [one["scope"] for one in route["considered"]] == [
            one["scope"] for one in served["considered"]
        ]
        assert all(one["probabilities"] for one in route["considered"])
