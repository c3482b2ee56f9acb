"""Where the question stands in a running text: its last block."""

from __future__ import annotations

import re

_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")
# what tokenizers write in front of a prompt; nothing may come before it
_OPENING = re.compile(
    r"(?:<s>|<bos>|\[BOS\]|\[CLS\]|<\|(?:begin_of_text|startoftext|endoftext)\|>)+[^\S\n]?"
)
# a chat template that the client filled in itself: the user's turn begins and ends here
_TURN = re.compile(
    r"<\|im_start\|>user\n|<start_of_turn>user\n|<\|user\|>\n?|\[INST\] ?"
    r"|<\|start_header_id\|>user<\|end_header_id\|>\n*"
)
_TURN_END = re.compile(r"\s*(?:<\|(?:im_end|end|eot_id)\|>|<end_of_turn>|</s>|\[/INST\])")


def last_block(text: str) -> int:
    """Return where the last block of a prompt starts, in characters.

    That is after the last blank line: few-shot examples and instructions stand above it.  Blank
    lines at the very end, which only wait for the answer, do not count; a prompt without blank
    lines is one block.  A special token in front of a block, and the opening of the last user turn
    where the prompt is a filled-in chat template, are not part of it.
    """
    end = len(text.rstrip())
    start = 0
    for blank in _BLANK_LINES.finditer(text, 0, end):
        start = blank.end()
    for turn in _TURN.finditer(text, 0, end):
        start = turn.end()
    opening = _OPENING.match(text, start, end)
    return opening.end() if opening else start


def asked(text: str) -> str:
    """Return what the last block of ``text`` asks, without the end of a chat template's turn."""
    block = text[last_block(text) :]
    closing = _TURN_END.search(block)
    return (block[: closing.start()] if closing else block).strip()
