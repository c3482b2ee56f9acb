"""What a run did not measure, and why: tasks, metrics, costs."""

from __future__ import annotations

from collections.abc import Sequence

from memedit.evaluation.report.labels import HEADLINES, measure
from memedit.evaluation.report.run import Run
from memedit.evaluation.rows import Scoring


def unmeasured(run: Run) -> tuple[str, ...]:
    """Say which tasks, metrics and costs a reader may miss among the numbers, one a line."""
    return tuple([*_tasks(run), *_metrics(run), *_amounts(run), *_left_out(run), *_costs(run)])


def _tasks(run: Run) -> list[str]:
    tasks = [str(task) for task in run.manifest.get("unmeasured") or ()]
    if not tasks:
        return []
    cases = run.about("dataset").get("cases")
    return [
        f"Not measured: {', '.join(tasks)}. The {cases} cases that --limit leaves are spread over "
        "the tasks, and none was left for these."
    ]


def _metrics(run: Run) -> list[str]:
    """Say which tasks are not among a headline metric's: their cases have no such probe."""
    found = []
    for metric in HEADLINES:
        there = {row.task for row in run.rows if row.metric == metric}
        lacking = [task for task in run.tasks if task not in there]
        if lacking and there:
            found.append((measure(metric).title, lacking))
        elif lacking:
            found.append((measure(metric).title, ["any task"]))
    return [
        f"{title} is not measured of {_listed(tasks)}: the cases that were asked have no such "
        "probe."
        for title, tasks in found
    ]


def _amounts(run: Run) -> list[str]:
    amounts = run.manifest.get("amounts")
    if not isinstance(amounts, dict):
        return []
    metrics = {row.metric for row in run.rows}
    said = []
    for metric, key, option, else_why in (
        (
            *("general_ability", "general", "--general"),
            "no other case has a far question that could be asked",
        ),
        ("fluency", "fluent", "--fluency", "no case has a prompt to be continued"),
    ):
        if metric not in metrics:
            why = f"{option} is 0" if amounts.get(key) == 0 else else_why
            said.append(f"{measure(metric).title} is not measured: {why}.")
    return said


def _left_out(run: Run) -> list[str]:
    """Say which way of scoring, or which score of opinions, is missing as a whole."""
    said = []
    scorings = {row.scoring for row in run.rows if row.scoring}
    if scorings == {Scoring.GENERATED.value}:
        said.append("There are no teacher-forced scores" + _why(run, ("teacher-forced",)))
    opinions = {row.task for row in run.rows if row.metric == "sentiment"}
    moved = {row.task for row in run.rows if row.metric == "kl"}
    if lacking := [task for task in run.tasks if task in opinions - moved]:
        said.append(
            f"{measure('kl').title} is not measured of {_listed(lacking)}"
            + _why(run, ("divergences",))
        )
    return said


def _why(run: Run, words: Sequence[str]) -> str:
    """Return the reason that the run noted for something of that name, as a sentence's end."""
    reasons = dict.fromkeys(
        one.reason for one in run.unscored if any(word in one.what for word in words)
    )
    return f": {'; '.join(reasons)}." if reasons else "."


def _costs(run: Run) -> list[str]:
    if any(one.edits for one in run.spent) and all(one.added_bytes is None for one in run.spent):
        return [
            "Memory added is not measured: behind a proxy it is the proxy's own, and elsewhere "
            "only Linux and GPUs tell it."
        ]
    return []


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
