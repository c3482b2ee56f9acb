from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from memedit.evaluation.report.compare import compared
from memedit.evaluation.report.labels import (
    COSTS,
    MEASURES,
    bounds,
    difference,
    duration,
    kind_said,
    meanings,
    measure,
    metric_order,
    row_title,
    signed,
    size,
    written,
)
from memedit.evaluation.report.markdown import safe
from memedit.evaluation.report.mistakes import classes, mistakes, mistakes_by_task
from memedit.evaluation.report.run import Run
from memedit.evaluation.report.tables import age_tables, cost_tables, score_tables
from memedit.evaluation.rows import Row, Scored, is_share


def row(
    value: float,
    *,
    method: str = "ice",
    metric: str = "edit_success",
    kind: str = "",
    task: str = "zsre",
    scoring: str | None = "generated",
    setting: str = "single",
    spread: float | None = 0.05,
) -> Row:
    bounds = (None, None) if spread is None else (value - spread, value + spread)
    return Row(method, task, setting, metric, kind, scoring, value, *bounds, 10, 10)


def run(*rows: Row, dataset: str | None = "d", model: str | None = "m", **manifest: Any) -> Run:
    manifest |= {
        "dataset": {"name": "zsre", "fingerprint": dataset},
        "model": {"name": "atlas", "fingerprint": model},
    }
    return Run(Path("run"), manifest, rows, (), (), (), ())


def test_generated_and_teacher_forced_never_share_a_table() -> None:
    rows = [row(0.5), row(0.9, scoring="teacher_forced"), row(0.7, task="wiki_recent")]
    found = score_tables(rows, ["ice"])
    assert [(t.task, t.scoring) for t in found] == [
        ("zsre", "generated"),
        ("zsre", "teacher_forced"),
        ("wiki_recent", "generated"),
    ]
    assert all(
        cell.scoring == t.scoring for t in found for li in t.lines for cell in li.cells if cell
    )


def test_methods_stand_side_by_side_and_the_best_is_marked() -> None:
    rows = [
        row(1.0, method="none", metric="locality"),
        row(0.6, method="ft-m", metric="locality"),
        row(0.8, method="rome", metric="locality"),
        row(0.9, method="rome"),
        row(0.2, method="ft-m", metric="kl"),
        row(0.4, method="rome", metric="kl"),
        row(5.0, method="ft-m", metric="fluency"),
        row(6.0, method="rome", metric="fluency"),
    ]
    [table] = score_tables(rows, ["none", "ft-m", "rome"])
    assert table.methods == ("none", "ft-m", "rome")
    lines = {line.metric: line for line in table.lines}
    assert list(lines) == ["edit_success", "locality", "fluency", "kl"]
    assert lines["locality"].best == {2}, "none has nothing to lose and is not the best"
    assert lines["kl"].best == {1}, "less is better"
    assert lines["fluency"].best == frozenset(), "neither is better"
    assert lines["edit_success"].cells[:2] == (None, None)


def test_every_row_stands_somewhere() -> None:
    rows = [
        row(0.5),
        row(0.4, metric="edit_success_contains"),
        row(0.4, metric="edit_success_by_age", kind="00-09 edits later"),
        row(1.5, metric="seconds_per_edit", scoring=None, spread=None),
        row(3.0, metric="a_new_one", kind="x"),
    ]
    shown = [
        cell
        for arrange in (score_tables, cost_tables, age_tables)
        for table in arrange(rows, ["ice"])
        for line in table.lines
        for cell in line.cells
    ]
    assert sorted(map(id, shown)) == sorted(map(id, rows))


def test_what_has_one_kind_is_told_once() -> None:
    def told(*rows: Row) -> list[str]:
        [table] = score_tables(rows, ["ice", "rome"])
        return [row_title(line.metric, line.kind, line.only) for line in table.lines]

    one = [row(0.5, metric="locality"), row(0.5, metric="locality", kind="Other_Topic")]
    assert told(*one) == ["Locality (Other Topic only)"]
    other = [replace(each, method="rome") for each in one]
    assert told(*one, *other) == ["Locality (Other Topic only)"]
    # Of the other method some probes have no kind, or it has more kinds: both are told.
    some = [replace(each, n=each.n - bool(each.kind)) for each in other]
    assert told(*one, *some) == ["Locality", "Locality: Other Topic"]
    more = [*one, row(0.5, metric="locality", kind="Forgetfulness")]
    assert told(*more) == ["Locality", "Locality: Forgetfulness", "Locality: Other Topic"]
    assert [d.now.kind for d in compared(run(*one), run(*one)).differences] == [""]
    ages = [row(0.5, metric="edit_success_by_age", kind=kind) for kind in ("", "0 edits later")]
    assert len(age_tables(ages, ["ice"])[0].lines) == 2, "there the kinds are what is told"


def test_ages_and_parts_of_the_sentiment_are_named_in_words() -> None:
    assert kind_said("000-099 edits later") == "0 to 99 later edits"
    assert [kind_said(f"{n} edits later") for n in ("0", "01", "2")] == [
        *("no later edit", "1 later edit", "2 later edits")
    ]
    assert measure("sentiment_z_topic").title == "Sentiment, still on the topic"
    said = dict(meanings(["sentiment_z_topic"]))
    assert "left the topic" in said["\N{HORIZONTAL ELLIPSIS}, still on the topic"]


def test_why_there_is_no_interval_is_said() -> None:
    one = replace(row(1.0, spread=None), cases=1)
    assert bounds(one) == "1 case"
    assert bounds(replace(one, cases=3)) == "all alike"
    assert bounds(replace(one, cases=0)) == "", "a sum over all tasks, or an older run"
    assert bounds(row(0.5)) == "0.450\N{EN DASH}0.550"
    loss = row(-1.0, metric="edit_success_log_probability")
    assert bounds(loss) == "\N{MINUS SIGN}1.050 to \N{MINUS SIGN}0.950"


def test_what_is_a_share_is_so_in_the_report_and_in_the_intervals() -> None:
    for metric, shown in MEASURES.items():
        scoring = None if metric in COSTS else "generated"
        assert is_share(metric, scoring) is shown.share, metric
    for metric in ("fluency_before", "general_ability_before", "edit_success_log_probability"):
        assert is_share(metric, "generated") is measure(metric).share, metric


def test_rows_differ_where_their_intervals_do_not_overlap() -> None:
    now = run(row(0.9), row(0.52, metric="locality"), row(0.1, metric="generality"))
    earlier = run(row(0.7), row(0.5, metric="locality"), row(0.1, metric="portability"))
    found = compared(now, earlier)
    assert [(d.now.metric, round(d.by, 6)) for d in found.apart] == [("edit_success", 0.2)]
    assert [d.now.metric for d in found.together] == ["locality"]
    assert [r.metric for r in found.only_now] == ["generality"]
    assert [r.metric for r in found.only_earlier] == ["portability"]
    assert found.warnings == ()


def test_intervals_that_touch_overlap() -> None:
    exact = run(row(0.5, spread=0.25)), run(row(1.0, spread=0.25))
    assert not compared(*exact).apart


def test_other_data_and_unknown_models_are_said() -> None:
    found = compared(run(row(0.5)), run(row(0.5), dataset="e", model=None))
    assert len(found.warnings) == 2
    assert "data sets differ" in found.warnings[0]
    assert "a fingerprint is missing" in found.warnings[1]


def test_a_difference_without_intervals_is_neither_chance_nor_more() -> None:
    cost = {"metric": "seconds_per_edit", "scoring": None, "spread": None}
    found = compared(run(row(0.5), row(3.0, **cost)), run(row(0.5), row(1.0, **cost)))  # type: ignore[arg-type]
    assert [d.now.metric for d in found.of_the_machine] == ["seconds_per_edit"]
    assert not found.untold
    assert [d.now.metric for d in found.together] == ["edit_success"] and not found.apart


def test_settings_are_compared_with_themselves_alone_and_the_rest_is_said() -> None:
    lengths = [row(value, setting=f"sequential:{n}") for n, value in ((10, 0.9), (100, 0.4))]
    both = compared(run(row(0.7), *lengths), run(row(0.9, setting="sequential:100")))
    assert [(d.now.setting, round(d.by, 6)) for d in both.differences] == [("sequential:100", -0.5)]
    [said] = both.warnings
    assert "single, sequential:10 only in this run" in said
    assert "Only rows of sequential:100 are compared" in said
    apart = compared(run(*lengths), run(row(0.5)))
    assert not apart.differences and "No row is compared" in apart.warnings[0]


def test_what_else_two_runs_do_not_share_is_said() -> None:
    amounts = {"max_tokens": 64, "general": 2}
    layers = {"ft-m": {"layers": [2], "from": "rule"}}
    now = run(row(0.5), cases="a", amounts=amounts, form="auto", layers=layers, layout=2)
    assert compared(now, now).warnings == ()
    other = {**amounts, "general": 0}
    earlier = run(row(0.5), cases="b", amounts=other, form="chat", layers={}, layout=1)
    said = " ".join(compared(now, earlier).warnings)
    for words in (
        "older memedit",
        "cases differ",
        "--general now 2, earlier 0",
        "auto, earlier chat",
    ):
        assert words in said
    assert "max-tokens" not in said and "layers" not in said and "{" not in said


def test_the_notable_differences_come_first() -> None:
    now = run(
        row(0.9),
        row(0.9, metric="edit_success_contains"),
        row(9.0, metric="fluency"),
        row(0.7, metric="locality"),
        row(40.0, metric="tokens_added", scoring=None),
    )
    earlier = run(
        row(0.7),
        row(0.1, metric="edit_success_contains"),
        row(1.0, metric="fluency"),
        row(0.1, metric="locality"),
        row(1.0, metric="tokens_added", scoring=None),
    )
    assert [d.now.metric for d in compared(now, earlier).apart] == [
        *("locality", "edit_success", "fluency", "edit_success_contains", "tokens_added")
    ]


def scored(case: str, verdict: str, *, metric: str = "edit_success", said: str = "x") -> Scored:
    right = float(verdict == "right")
    return Scored(
        *("ice", "single", "zsre", case, metric, "", "generated", "p", ("e",), said, "b"),
        *(right, verdict),
    )


def test_errors_are_counted_by_class_with_examples_of_different_cases() -> None:
    found = mistakes(
        [
            scored("a", "right"),
            scored("a", "partial", said="first"),
            scored("a", "partial", said="second of the same case"),
            scored("b", "partial", said="third"),
            scored("c", "missing"),
            scored("d", ""),
            scored("e", "old", metric="generality"),
        ],
        ["ice"],
    )
    first, second = found
    assert (first.metric, first.asked, first.failed) == ("edit_success", 5, 4)
    assert first.counts == (("partial", 3), ("missing", 1))
    assert [one.said for one in dict(first.examples)["partial"]] == ["first", "third"]
    assert (second.metric, second.failed) == ("generality", 1)
    assert classes(found) == ("missing", "partial", "old")


def test_errors_are_counted_by_task_where_there_are_several() -> None:
    one = [scored("a", "partial"), scored("b", "right")]
    other = [replace(scored("c", "old"), task="wikibio")]
    assert mistakes_by_task(one, ["ice"]) == []
    found = mistakes_by_task([*one, *other], ["ice"])
    assert [(task, [(m.asked, m.counts) for m in counted]) for task, counted in found] == [
        ("zsre", [(2, (("partial", 1),))]),
        ("wikibio", [(1, (("old", 1),))]),
    ]


def test_scores_before_the_edit_are_named_and_neither_better_nor_worse() -> None:
    before, fluent = measure("general_ability_before"), measure("fluency_before")
    assert before.title == "General ability, before" and before.higher_is_better is None
    assert before.share and not fluent.share
    said = dict(meanings(["general_ability", "general_ability_before", "fluency_before", "kl"]))
    assert list(said) == ["General ability", "KL divergence", "\N{HORIZONTAL ELLIPSIS}, before"]
    assert "gets right" not in said["General ability"]


def test_other_scores_are_shown_with_their_metric() -> None:
    assert measure("edit_success_all_tokens").title == "Edit success, all tokens"
    assert measure("edit_success_log_probability").share is False
    assert measure("brand_new").title == "Brand new"
    names = ["locality", "zzz", "edit_success_contains", "edit_success"]
    assert sorted(names, key=metric_order) == [
        "edit_success",
        "edit_success_contains",
        "locality",
        "zzz",
    ]


def test_numbers_are_written_in_fitting_units() -> None:
    assert duration(0.00083) == "830 µs"
    assert duration(0.0123) == "12.3 ms"
    assert duration(75.0) == "75 s"
    assert duration(300.0) == "5.0 min"
    assert written("added_bytes", 1.2e9) == "1,200 MB"
    assert written("added_bytes", 4.2e5) == "0.4 MB"
    assert size(None) == "\N{EN DASH}" and size(0) == "0.0 MB"
    assert difference("added_bytes", -3e8) == "\N{MINUS SIGN}300 MB"
    assert difference("seconds_per_edit", 0.25) == "+250 ms"
    assert difference("locality", 0.25) == "+0.250"
    assert written("tokens_added", 18.46) == "18.5"
    assert signed(-0.25) == "\N{MINUS SIGN}0.250"
    assert signed(0.0001) == "±0.000"


def test_markdown_cells_cannot_break_out() -> None:
    assert safe("a|b\n| <img src=x> [x](y) `c` $z$") == (
        r"a\|b \| &lt;img src=x&gt; \[x\](y) \`c\` \$z\$"
    )
