"""Where the question stands in a running text: its last block."""

from __future__ import annotations

import re

_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")
# what tokenizers write in front of a prompt; nothing may come before it
_OPENING = re.compile(
    r"(?:<s>|<bos>|\[BOS\]|\[CLS\]|<\|(?:bos|begin_of_text|startoftext|endoftext)\|>)+[^\S\n]?"
)
# a chat template that the client filled in itself: the user's turn begins and ends here
_TURN = re.compile(
    r"<\|im_start\|>user\n|<start_of_turn>user\n|<\|user\|>\n?|\[INST\] ?"
    r"|<\|start_header_id\|>user<\|end_header_id\|>\n*"
)
_TURN_END = re.compile(r"<\|(?:im_end|end|eot_id)\|>|<end_of_turn>|</s>|\[/INST\]")
# the frame of few-shot prompts: it says nothing about the question and draws its vector away
_QUESTION = re.compile(
    r"^[^\S\n]*(?:#+ )?(?:Q|Question|Prompt|Input|Instruction|User|Human) ?\d{0,9}:\s*(?=\S)",
    re.MULTILINE | re.IGNORECASE,
)
_ANSWER = re.compile(r"\s*(?:#+ )?(?:A|Answer|Output|Assistant|Response) ?\d{0,9}:", re.IGNORECASE)


def last_block(text: str) -> int:
    """Return where the last block of a prompt starts, in characters.

    That is after the last blank line: few-shot examples and instructions stand above it.  Blank
    lines and an ``Answer:`` at the very end only wait for the answer and do not count; a prompt
    without blank lines is one block.  A special token in front of a block, and the opening of the
    last user turn where the prompt is a filled-in chat template, are not part of it.
    """
    end = _before_answer(text.rstrip())
    start = 0
    for blank in _BLANK_LINES.finditer(text, 0, end):
        start = blank.end()
    for turn in _TURN.finditer(text, 0, end):
        start = turn.end()
    opening = _OPENING.match(text, start, end)
    return opening.end() if opening else start


def asked(text: str) -> str:
    """Return what the last block of ``text`` asks, for an encoder to read.

    Left out are the end of a chat template's turn, and ``Q:`` ... ``A:`` around the last question
    with what stands before it.
    """
    block = text[last_block(text) :]
    closing = _TURN_END.search(block)
    block = (block[: closing.start()] if closing else block).strip()
    *_, start = (0, *(label.end() for label in _QUESTION.finditer(block)))
    return block[start : _before_answer(block)].strip()


def _before_answer(text: str) -> int:
    """Return where ``text``, stripped, ends without a last line that is the label of an answer.

    The last line is cut out first: a pattern that looks for the end from everywhere would take
    time quadratic in a prompt of many line breaks.
    """
    line = text.rfind("\n")
    if line >= 0 and _ANSWER.fullmatch(text, line):
        return len(text[:line].rstrip())
    return len(text)
