from __future__ import annotations

import pytest

from memedit.routing.wire.base import TextPrompt, TokenPrompt
from memedit.routing.wire.completions import Completions, last_block


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
        ("", "One.\n\n"),
        ("", "\n\n \n"),
        ("", ""),
    ],
)
def test_the_last_block_starts_after_the_last_blank_line(header: str, block: str) -> None:
    assert last_block(header + block) == len(header)


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
