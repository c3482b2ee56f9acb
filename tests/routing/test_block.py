from __future__ import annotations

import time

import pytest

from memedit.routing.wire.base import TextPrompt, TokenPrompt
from memedit.routing.wire.block import asked, last_block
from memedit.routing.wire.completions import Completions


@pytest.mark.parametrize(
    ("header", "block"),
    [
        ("", "The capital of France is"),
        ("", "One.\nTwo."),
        ("One.\n\n", "Two."),
        ("One.\n\nTwo.\n\n", "Three."),
        ("One.\r\n\r\n", "Two."),
        ("One.\n \t\n", "Two."),
        ("One.\n\n\n\n", "Two."),
        ("\n\n", "One."),
        ("One.\n\n", "  Two, indented.\n  still"),
        ("One.\n\n", "Q: Two?\nA:\n\n  \n"),
        ("One.\n\n", "Q: Two?\n\nAnswer: "),
        ("", "One.\n\n"),
        ("", "\n\n \n"),
        ("", ""),
    ],
)
def test_the_last_block_starts_after_the_last_blank_line(header: str, block: str) -> None:
    assert last_block(header + block) == len(header)


@pytest.mark.parametrize(
    ("header", "block", "question"),
    [
        ("<s>", "Who?", "Who?"),
        ("<|begin_of_text|><|begin_of_text|>", "Who?", "Who?"),
        ("<|bos|>", "Who?", "Who?"),
        ("<s> ", "Who?", "Who?"),
        ("", "<b>Who?</b>", "<b>Who?</b>"),
        ("<s>[INST] ", "Who? [/INST]", "Who?"),
        ("<bos><start_of_turn>user\n", "Who?<end_of_turn>\n<start_of_turn>model\n", "Who?"),
        (
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n",
            "A text.\n\nWho?<|im_end|>\n<|im_start|>assistant\n",
            "A text.\n\nWho?",
        ),
        (
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHi\n\nyou<|im_end|>\n"
            "<|im_start|>user\n",
            "Who?<|im_end|>\n<|im_start|>assistant\n",
            "Who?",
        ),
        (
            "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n",
            "Who?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
            "Who?",
        ),
    ],
)
def test_special_tokens_and_filled_in_chat_templates(
    header: str, block: str, question: str
) -> None:
    assert last_block(header + block) == len(header)
    assert asked(header + block) == question


@pytest.mark.parametrize(
    ("prompt", "question"),
    [
        ("Q: Who?\nA:", "Who?"),
        ("Q1: Who?\nA1: ", "Who?"),
        ("Question: Who\n  or what?\n\tAnswer:", "Who\n  or what?"),
        ("x\n\nQ: When?\nA: Now.\nQ: Who?\nA:", "Who?"),
        ("Human: Who?\n\nAssistant:", "Who?"),
        ("x\n\nWho?\n\nAnswer: ", "Who?"),
        ("Below is a task.\n\n### Instruction:\nWho?\n\n### Response:\n", "Who?"),
        ("Q: Who?\nA: It is", "Who?\nA: It is"),
        ("The capital of France is", "The capital of France is"),
        ("Q:", "Q:"),
        ("Q. E. D. means", "Q. E. D. means"),
        ("", ""),
    ],
)
def test_the_frame_of_a_few_shot_prompt_is_not_the_question(prompt: str, question: str) -> None:
    assert asked(prompt) == question


def test_reads_batches_in_order() -> None:
    prompts = Completions().read({"prompt": ["a\n\nb", "", "c"]})
    assert all(isinstance(prompt, TextPrompt) for prompt in prompts)
    assert [p.query.text for p in prompts if isinstance(p, TextPrompt)] == ["b", "", "c"]
    assert [p.place.path for p in prompts] == [("prompt", 0), ("prompt", 1), ("prompt", 2)]


def test_reads_token_ids() -> None:
    (one,) = Completions().read({"prompt": [1, 2]})
    assert isinstance(one, TokenPrompt)
    assert (one.place.path, one.place.tokens) == (("prompt",), (1, 2))
    two = Completions().read({"prompt": [[1], [2, 3]]})
    assert [p.place.path for p in two] == [("prompt", 0), ("prompt", 1)]
    assert [p.place.tokens for p in two if isinstance(p, TokenPrompt)] == [(1,), (2, 3)]


HOSTILE = [
    "\n" * 100_000,
    "x" + "\n" * 100_000 + "x",
    " \n" * 50_000 + "x",
    "x\n" + " " * 100_000 + "x",
    "a\n \t" * 30_000,
    "Q:\n" * 30_000,
    "\nA: \n" * 30_000 + "x",
    "\nA:" + " " * 100_000 + "x",
    "<s>" * 30_000,
    "<|im_start|>user\n" * 9_000,
    "x" + " " * 100_000 + "<|im_end|>",
    "### " * 30_000,
    "\nQ" + "1" * 100_000,
]


@pytest.mark.parametrize("prompt", HOSTILE, ids=range(len(HOSTILE)))
def test_no_prompt_takes_more_than_linear_time(prompt: str) -> None:
    # about 0.05 s; a pattern that backtracks from every character takes minutes
    began = time.process_time()
    assert 0 <= last_block(prompt) <= len(prompt)
    asked(prompt)
    assert time.process_time() - began < 5
