"""What a reader may miss is said, with the reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from memedit.evaluation.report.run import Run, Spent, Unscored
from memedit.evaluation.report.unmeasured import unmeasured
from memedit.evaluation.rows import Row


def row(metric: str, task: str = "zsre", scoring: str = "generated") -> Row:
    return Row("ice", task, "single", metric, "", scoring, 0.5, None, None, 10, 10)


WHOLE = tuple(
    row(metric, task, scoring)
    for metric in (
        *("edit_success", "generality", "portability", "locality", "general_ability", "fluency"),
    )
    for task in ("zsre", "wikibio")
    for scoring in ("generated", "teacher_forced")
)


def run(*rows: Row, unscored: tuple[Unscored, ...] = (), **manifest: Any) -> Run:
    manifest.setdefault("amounts", {"general": 2, "fluent": 50})
    return Run(Path("run"), manifest, rows, (), (), (), unscored)


def test_of_a_whole_run_nothing_is_missing() -> None:
    assert unmeasured(run(*WHOLE)) == ()


def test_tasks_that_the_limit_leaves_out_are_named() -> None:
    [said] = unmeasured(run(*WHOLE, unmeasured=["convsent", "multihop"], dataset={"cases": 2}))
    assert said.startswith("Not measured: convsent, multihop. The 2 cases that --limit leaves")


def test_metrics_that_no_case_of_a_task_asks_are_named() -> None:
    lacking = [
        one
        for one in WHOLE
        if one.metric != "portability" and (one.metric, one.task) != ("locality", "wikibio")
    ]
    portability, locality = unmeasured(run(*lacking))
    assert portability.startswith("Portability is not measured of any task: ")
    assert locality.startswith("Locality is not measured of wikibio: ")


def test_amounts_of_nothing_are_the_reason() -> None:
    lacking = [one for one in WHOLE if one.metric not in ("general_ability", "fluency")]
    assert unmeasured(run(*lacking, amounts={"general": 0, "fluent": 0})) == (
        "General ability is not measured: --general is 0.",
        "Fluency is not measured: --fluency is 0.",
    )
    general, _ = unmeasured(run(*lacking))
    assert "no other case has a far question" in general


def test_divergences_and_teacher_forced_scores_are_missed_with_their_reason() -> None:
    opinions = [*WHOLE, row("sentiment", "wikibio", "teacher_forced")]
    why = Unscored("ice: divergences", "there is one topic", 1)
    assert unmeasured(run(*opinions, unscored=(why,))) == (
        "KL divergence is not measured of wikibio: there is one topic.",
    )
    assert unmeasured(run(*opinions, row("kl", "wikibio", "teacher_forced"))) == ()
    generated = [one for one in WHOLE if one.scoring == "generated"]
    why = Unscored("proxy: teacher-forced scores", "no probabilities", 9)
    assert unmeasured(run(*generated, unscored=(why,))) == (
        "There are no teacher-forced scores: no probabilities.",
    )


def test_memory_that_was_not_measured_is_said() -> None:
    spent = Spent("ice", "single", 3, 1.0, None, None)
    [said] = unmeasured(replace(run(*WHOLE), spent=(spent,)))
    assert said.startswith("Memory added is not measured")
    assert unmeasured(replace(run(*WHOLE), spent=(replace(spent, added_bytes=9),))) == ()
