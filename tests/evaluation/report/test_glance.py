"""The table at the top: everything that a run measured, each task with the same weight."""

from __future__ import annotations

from memedit.evaluation.report.glance import Cell, Glance, glances
from memedit.evaluation.report.run import Spent
from memedit.evaluation.rows import Row


def row(
    value: float,
    metric: str = "edit_success",
    task: str = "zsre",
    method: str = "ice",
    scoring: str = "generated",
    kind: str = "",
) -> Row:
    return Row(method, task, "single", metric, kind, scoring, value, None, None, 10, 10)


def shown(glance: Glance, method: str) -> dict[str, Cell | None]:
    [line] = [line for line in glance.lines if line.method == method]
    return dict(zip([title for title, _ in glance.head], line.cells, strict=True))


def test_scores_are_plain_means_over_tasks() -> None:
    rows = [row(0.2), row(0.6, task="wiki_recent"), row(0.9, kind="some")]
    [glance] = glances(rows, ["ice"])
    assert glance.head == (("Edit success", "2 tasks"),)
    assert glance.lines[0].cells == (Cell("0.400", "", 0.4),)


def test_every_score_that_was_measured_has_a_column_and_so_have_costs() -> None:
    rows = [
        row(0.5),
        row(0.25, "multihop", "multihop"),
        row(0.75, "retention", "sanitation"),
        *(row(0.9, "general_ability", task) for task in ("zsre", "multihop")),
        *(row(1.0, "general_ability_before", task) for task in ("zsre", "multihop")),
        row(0.0, method="none"),
        row(0.6, "sentiment", "convsent", scoring="teacher_forced"),
    ]
    spent = [Spent("ice", "single", 4, 2.0, None, 6.5)]
    generated, forced = glances(rows, ["none", "ice"], spent=spent)
    assert [title for title, _ in generated.head] == [
        *("Edit success", "Multi-hop", "Retention", "General ability"),
        *("Time per edit", "Tokens added per request"),
    ]
    ice = shown(generated, "ice")
    assert ice["Multi-hop"] == Cell("0.250", "", 0.25) and ice["Retention"] is not None
    assert ice["General ability"] == Cell("0.900", "before 1.000", 0.9)
    assert ice["Time per edit"] == Cell("500 ms") and ice["Tokens added per request"] == Cell("6.5")
    none = shown(generated, "none")
    assert none["Multi-hop"] is None and none["Time per edit"] is None
    assert [line.method for line in generated.lines] == ["none", "ice"]
    assert dict(forced.head) == {"Sentiment": "1 task"}, "costs are no scores: they stand once"


def test_tasks_of_different_domains_are_apart() -> None:
    rows = [row(0.2), row(0.6, task="wiki_recent")]
    [glance] = glances(rows, ["ice"], {"zsre": "in-domain", "wiki_recent": "cross-domain"})
    assert glance.settings == ("single, in-domain", "single, cross-domain")
    assert [line.cells[0] for line in glance.lines] == [
        Cell("0.200", "", 0.2),
        Cell("0.600", "", 0.6),
    ]


def test_edit_success_on_opinions_is_a_floor_and_in_no_mean() -> None:
    rows = [
        *(row(0.2, scoring=scoring) for scoring in ("generated", "teacher_forced")),
        row(0.6, task="wiki_recent"),
        *(
            row(1.0, task="convsent", scoring=scoring)
            for scoring in ("generated", "teacher_forced")
        ),
        row(1.0, task="convsent", kind="word for word"),
        row(0.9, "locality", "convsent"),
    ]
    generated, forced = glances(rows, ["ice"])
    assert generated.head == (("Edit success", "2 tasks"), ("Locality", "1 task"))
    assert shown(generated, "ice")["Edit success"] == Cell("0.400", "", 0.4)
    assert shown(forced, "ice")["Edit success"] == Cell("0.200", "", 0.2)
    for glance in (generated, forced):
        assert glance.note.startswith("Edit success is without convsent: ")
    # an older run, without that kind, has the sentiment
    rows = [*rows[:-2], row(0.7, "sentiment", "convsent", scoring="teacher_forced")]
    generated, forced = glances(rows, ["ice"])
    assert shown(generated, "ice")["Edit success"] == Cell("0.400", "", 0.4)
    assert shown(forced, "ice")["Sentiment"] == Cell("0.700", "", 0.7)
    [glance] = glances(rows[:1], ["ice"])
    assert glance.note == ""
