"""The few-shot prompts: text files that stand in front of every question, and can be replaced."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from memedit.agent.lines import Label, read_lines
from memedit.errors import InvalidInputError


def shipped_demonstrations(method: str) -> str:
    """Return the demonstrations that memedit ships for ``method``.

    Facts in them are common knowledge, or made up, so that a model learns to follow either.
    """
    return resources.files("memedit.agent").joinpath(f"{method}.txt").read_text(encoding="utf-8")


def read_demonstrations(file: Path, needed: Iterable[Label]) -> str:
    """Read demonstrations of one's own: an instruction, and worked questions behind it.

    Raises:
        InvalidInputError: the file cannot be read, or shows none of the lines that a method needs.

    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"cannot read demonstrations from {file}: {error}") from error
    check_demonstrations(text, needed, str(file))
    return text


def check_demonstrations(text: str, needed: Iterable[Label], where: str) -> None:
    """Refuse demonstrations from which a model cannot learn a method's lines.

    Raises:
        InvalidInputError: names the lines that are missing.

    """
    shown = {line.label for line in read_lines(text)}
    missing = [label.value for label in needed if label not in shown]
    if missing:
        lines = ", ".join(f'"{label}: ..."' for label in missing)
        raise InvalidInputError(
            f"{where} shows no line {lines}; worked questions in the very form that the method "
            "reads are expected, or no demonstrations at all"
        )
