"""The command that measures a run again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from types import MappingProxyType

_SECRET = MappingProxyType({"--key": '"$MEMEDIT_INFERENCE_KEY"', "--admin-key": '"$MEMEDIT_KEY"'})
"""Options whose value is nobody's to read, and what stands for it."""


def repeated(commands: Sequence[str], methods: Sequence[str]) -> str:
    """Return one command that measures what several did; empty where there was none.

    Commands that went on with one run differ in their methods alone, apart from how they were
    reported. So the last one, with the methods of all, says it, without a comparison; `--scope`
    goes with the methods' names (`ice+always`).

    Args:
        commands: the run's, in their order.
        methods: all that the run measured.

    """
    different = list(dict.fromkeys(commands))
    if not different:
        return ""
    try:
        words = shlex.split(different[-1])
    except ValueError:  # written by hand, or by another version
        return different[-1]
    if len(different) > 1 and methods:
        words = _without(words, ("--method", "--scope", "--compare"))
        words[2:2] = ["--method", ",".join(methods)]  # behind "memedit eval"
    return " ".join(_hidden(words))


def _without(words: Sequence[str], options: Sequence[str]) -> list[str]:
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in options:
            skip = True
        elif word.partition("=")[0] not in options:
            kept.append(word)
    return kept


def _hidden(words: Sequence[str]) -> list[str]:
    shown = []
    before = ""
    for word in words:
        option, equals, _ = word.partition("=")
        if before in _SECRET:
            shown.append(_SECRET[before])
        elif equals and option in _SECRET:
            shown.append(f"{option}={_SECRET[option]}")
        else:
            shown.append(shlex.quote(word))
        before = word
    return shown
