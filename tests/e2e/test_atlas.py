"""vLLM and transformers read the reference model alike: the same greedy answers."""

from __future__ import annotations

import random

import pytest
import torch

from examples.atlas.answering import Answerer, probe
from examples.atlas.corpus import Corpus
from examples.atlas.world import build_world
from tests.e2e.findings import FINDINGS
from tests.e2e.stack import Vllm, model_folder
from tests.e2e.wires import COMPLETIONS, MODEL, post

PROMPTS, TOKENS = 50, 24
TIE = 0.15
"""Two logits nearer than this are one to bfloat16, and either is the greedy choice."""


@pytest.fixture(scope="module")
def atlas() -> Answerer:
    return Answerer(model_folder(), torch.bfloat16)


def _prompts() -> list[str]:
    """Questions of every kind that the model was trained on, chat and completion."""
    corpus, rng = Corpus(build_world(), held_out=True), random.Random(7)
    draws = [draw for _, draw in corpus.mixture[:-1]]
    return [probe(draws[i % len(draws)](rng)).prompt for i in range(PROMPTS)]


def _by_vllm(vllm: Vllm, ids: list[int]) -> str:
    body = {"model": MODEL, "prompt": ids, "max_tokens": TOKENS, "temperature": 0}
    reply = post(vllm.url, COMPLETIONS.path, body)
    assert reply.status == 200, (reply.status, reply.body)
    text: str = reply.json()["choices"][0]["text"]
    return text


@torch.no_grad()
def _gap(atlas: Answerer, prompt: str, mine: str, other: str) -> float:
    """How far the logits of the two answers are apart where they part."""
    start, a, b = atlas.ids(prompt), atlas.ids(mine), atlas.ids(other)
    same = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
    if same is None:  # one goes on where the other ends, or is cut
        same = min(len(a), len(b))
    logits = atlas.model(torch.tensor([start + a[:same]])).logits[0, -1].float()
    best = logits.topk(2).values
    return float(best[0] - best[1])


def test_vllm_and_transformers_give_the_same_greedy_answers(vllm: Vllm, atlas: Answerer) -> None:
    prompts = _prompts()
    mine = atlas.generate(prompts, TOKENS)
    served = [_by_vllm(vllm, atlas.ids(prompt)) for prompt in prompts]
    differ = [i for i in range(PROMPTS) if mine[i] != served[i]]
    FINDINGS.append(
        f"greedy answers, vLLM and transformers: {PROMPTS - len(differ)}/{PROMPTS} same"
    )
    apart = {i: _gap(atlas, prompts[i], mine[i], served[i]) for i in differ}
    assert all(gap < TIE for gap in apart.values()), [
        (prompts[i], mine[i], served[i], gap) for i, gap in apart.items() if gap >= TIE
    ]
    assert len(differ) <= 3
