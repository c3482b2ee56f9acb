"""Runs of a table of answers, with and without an edit that overwrites it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from memedit.evaluation.base_answers import BaseAnswers
from memedit.evaluation.cases import EditCase
from memedit.evaluation.questions import Amounts
from memedit.evaluation.rows import Row
from memedit.evaluation.run_folder import RunFolder
from memedit.evaluation.runner import Runner
from memedit.evaluation.settings import Mode, Setting
from memedit.evaluation.treatments import Session, Unedited
from memedit.types import EditRequest
from tests.evaluation.toy_facts import CASES, Overwrite, Table

AMOUNTS = Amounts(general=1, fluent=2)


def runner_in(
    folder: Path,
    model: Table,
    *,
    setting: str = "single",
    cases: tuple[EditCase, ...] = CASES,
    **manifest: Any,
) -> Runner:
    named = manifest.pop("about", setting)
    about = {"methods": ["none", "overwrite"], "setting": named, "model": "m", **manifest}
    base = BaseAnswers(model, folder / "answers.jsonl")
    return Runner(
        RunFolder(folder / "run", about), base, model, cases, Setting.parse(setting), AMOUNTS
    )


class Flood(Overwrite):
    """Gives the same long answer to everything."""

    @contextmanager
    def session(self, edits: Sequence[Sequence[EditRequest]], mode: Mode) -> Iterator[Session]:
        with super().session(edits, mode) as session:
            self.model.facts = dict.fromkeys(self.model.facts, "all one " * 9)
            yield session


def run(runner: Runner, treatment: Overwrite, **more: Any) -> list[Row]:
    unedited = Unedited(runner.base, runner.model)
    methods = [("none", lambda: unedited), ("overwrite", lambda: treatment)]
    return runner.run(methods, **more)  # type: ignore[arg-type]


def values(
    rows: list[Row], method: str = "overwrite"
) -> dict[tuple[str, str | None], tuple[float, int]]:
    return {
        (row.metric, row.scoring): (row.value, row.n)
        for row in rows
        if row.method == method and row.kind == ""
    }
