"""The report as Markdown: the same tables, without plots."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from memedit.evaluation.report.compare import Comparison, Difference
from memedit.evaluation.report.findings import Part
from memedit.evaluation.report.glance import Cell, Glance
from memedit.evaluation.report.labels import (
    COSTS,
    DASH,
    GLANCED,
    INTERVALS,
    NOTABLE,
    REPEAT,
    SCORINGS,
    VERDICTS,
    bounds,
    clipped,
    difference,
    duration,
    measure,
    number,
    row_title,
    size,
    written,
)
from memedit.evaluation.report.mistakes import Mistakes, classes
from memedit.evaluation.report.tables import Table
from memedit.evaluation.report.view import View
from memedit.evaluation.rows import Row


def markdown(view: View, analysis: Sequence[Part] = (), scope: Sequence[Part] = ()) -> str:
    """Render a run as Markdown; text that comes from models or data cannot become markup."""
    parts = heading(view.title, view.subtitle, view.facts, view.command)
    parts += [f"> **{safe(warning)}**" for warning in view.warnings]
    for one in view.glance:
        said = " ".join(filter(None, (GLANCED, safe(one.note))))
        parts.append(f"## At a glance ({_scoring(one.scoring)})\n\n{said}")
        parts.append(_glance(one))
    if view.notes:
        parts.append("What is not in these numbers:")
        parts.append("\n".join(f"- {safe(note)}" for note in view.notes))
    if view.meanings:
        parts.append("## What is scored")
        parts.append("\n".join(f"- **{name}**: {safe(says)}" for name, says in view.meanings))
    for place, (scoring, group) in enumerate(view.scores):
        parts.append(f"## Scores ({_scoring(scoring)})")
        if place == 0:
            parts.append(INTERVALS)
        if scoring in SCORINGS:
            parts.append(SCORINGS[scoring][1])
        for table in group:
            parts += _scores(table)
    if view.run.spent:
        parts.append("## Cost")
        parts.append("\n".join(f"- **{measure(m).title}**: {measure(m).says}" for m in COSTS))
        parts.append(
            _table(
                ["Method", "Setting", "Edits", "Per edit", "Tokens added", "Memory added"],
                [
                    [
                        one.method,
                        one.setting,
                        f"{one.edits:,}",
                        duration(one.seconds_per_edit),
                        number(one.tokens_added, 1),
                        size(one.added_bytes),
                    ]
                    for one in view.run.spent
                ],
            )
        )
    for title, group in (("Cost by task", view.costs), ("Edit success by age", view.ages)):
        if group:
            parts.append(f"## {title}")
            for table in group:
                parts += _scores(table)
    parts += _errors(view)
    parts += sections((*analysis, *scope))
    if view.comparison:
        parts += _comparison(view.comparison)
    parts += _faults(view)
    return "\n\n".join(parts) + "\n"


def sections(parts: Sequence[Part]) -> list[str]:
    """Return sections without their plots, as blocks of text."""
    blocks = []
    for part in parts:
        blocks.append(f"## {safe(part.title)}")
        blocks += [safe(words) for words in part.says]
        for shown in part.tables:
            blocks.append((f"{safe(shown.caption)}\n\n") + _table(shown.head, shown.lines))
    return blocks


def heading(
    title: str,
    subtitle: str,
    facts: Sequence[tuple[str, str]],
    command: str,
    repeat: str = REPEAT,
) -> list[str]:
    """Return what a report begins with, as blocks of text."""
    return [
        f"# {safe(title)}",
        safe(subtitle),
        "\n".join(f"- **{name}**: {safe(value)}" for name, value in facts),
        f"{repeat}:\n\n{_block(command)}",
    ]


def _glance(one: Glance) -> str:
    return _table(
        [
            *("Method", "Setting"),
            *(f"{title} ({note})" if note else title for title, note in one.head),
        ],
        [[line.method, line.setting, *(_cell(cell) for cell in line.cells)] for line in one.lines],
    )


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return DASH
    return f"{cell.text} ({cell.note})" if cell.note else cell.text


def _scores(table: Table) -> list[str]:
    lines = [
        [row_title(line.metric, line.kind, line.only), *map(_value, line.cells), line.n]
        for line in table.lines
    ]
    head = ["Metric", *table.methods, "Probes"]
    return [f"### {safe(table.task)}, {safe(table.setting)}", _table(head, lines)]


def safe(text: str) -> str:
    r"""Escape what Markdown, or HTML inside of it, would read as markup.

    >>> safe("a|b <script>")
    'a\\|b &lt;script&gt;'
    """
    text = re.sub(r"\s+", " ", text).replace("&", "&amp;").replace("<", "&lt;")
    text = text.replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#$~])", r"\\\1", text)


def _block(text: str) -> str:
    """Return a code block, its fence longer than any that the text holds."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def _code(text: str) -> str:
    """Return code within a line, its fence longer than any that the text holds."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(
        "| " + " | ".join(cell if i == 1 else safe(cell) for cell in row) + " |"
        for i, row in enumerate(rows)
    )


def _scoring(name: str | None) -> str:
    if name is None:
        return "cost"
    return SCORINGS[name][0].lower() if name in SCORINGS else safe(name)


def _value(row: Row | None) -> str:
    if row is None:
        return DASH
    value = written(row.metric, row.value)
    return f"{value} ({told})" if (told := bounds(row)) else value


def _errors(view: View) -> list[str]:
    found = view.mistakes
    if not found:
        return []
    parts = ["## What went wrong (generated)"]
    parts.append("\n".join(f"- **{name}**: {says}" for name, says in VERDICTS.items()))
    parts.append(_counts(found))
    for task, counted in view.mistakes_by_task:
        parts += [f"### {safe(task)}: what went wrong", _counts(counted)]
    lines = [
        [
            one.method,
            *([one.setting] if view.several_settings else []),
            measure(one.metric).title,
            name,
            clipped(example.prompt, 120),
            "as before" if one.metric == "locality" else clipped(" / ".join(example.expected), 120),
            clipped(example.said, 120),
            clipped(example.base_said, 120),
            example.case,
        ]
        for one in found
        for name, examples in one.examples
        for example in examples
    ]
    if lines:
        head = [
            *("Method", *(["Setting"] if view.several_settings else []), "Metric", "Class"),
            *("Prompt", "Expected", "Said", "Before the edit", "Case"),
        ]
        parts.append(
            "### Examples of each class\n\nUp to three, of different cases: the first ones found, "
            f"not chosen.\n\n{_table(head, lines)}"
        )
    return parts


def _counts(found: Sequence[Mistakes]) -> str:
    names = classes(found)
    return _table(
        ["Metric", "Method", "Setting", "Asked", "Failed", *names],
        [
            [
                measure(one.metric).title,
                one.method,
                one.setting,
                f"{one.asked:,}",
                f"{one.failed:,}",
                *(f"{dict(one.counts).get(name, 0):,}" for name in names),
            ]
            for one in found
        ],
    )


def _comparison(found: Comparison) -> list[str]:
    parts = [
        f"## Compared with an earlier run\n\nEarlier: {_code(str(found.earlier.folder))}\n\n"
        f"{found.says}"
    ]
    parts += [f"> **{safe(warning)}**" for warning in found.warnings]

    def line(one: Difference) -> list[str]:
        row = one.now
        return [
            *(row.task, row.setting, _scoring(row.scoring), row_title(row.metric, row.kind)),
            row.method,
            written(row.metric, one.earlier.value),
            written(row.metric, row.value),
            difference(row.metric, one.by) + (" (*)" if one.apart else ""),
        ]

    head = ["Task", "Setting", "Scoring", "Metric", "Method", "Earlier", "Now", "Difference"]
    if found.apart:
        parts.append(_table(head, [line(one) for one in found.apart[:NOTABLE]]))
    for title, differences in found.folded:
        parts.append(_folded(title, _table(head, [line(one) for one in differences])))
    parts += _only("this run", found.only_now, "rows.json")
    parts += _only("the earlier run", found.only_earlier, str(found.earlier.folder / "rows.json"))
    return parts


def _only(where: str, rows: Sequence[Row], file: str) -> list[str]:
    """Count the rows that one run alone has: listed, they would be most of the text."""
    if not rows:
        return []
    counts: dict[tuple[str, str], Counter[str]] = {}
    for row in rows:
        counts.setdefault((row.method, row.setting), Counter())[row.task or "over all tasks"] += 1
    lines = [
        f"- **{safe(method)}**, {safe(setting)}: {tasks.total():,} ("
        + ", ".join(f"{safe(task)} {n:,}" for task, n in tasks.items())
        + ")"
        for (method, setting), tasks in counts.items()
    ]
    title = f"{len(rows):,} rows only in {where}; they are in {_code(file)}. By method and setting:"
    return ["\n".join([title, "", *lines])]


def _folded(title: str, text: str) -> str:
    """Return what is shown when it is opened; where HTML is not rendered, it stands there."""
    return f"<details><summary>{safe(title)}</summary>\n\n{text}\n\n</details>"


def _faults(view: View) -> list[str]:
    parts = ["## Faults of the data, and what was not scored"]
    run = view.run
    if not view.faults and not run.unscored and not run.unreadable:
        return [*parts, "None were recorded: every record and every probe was scored."]
    if run.unreadable:
        parts.append(f"**{run.unreadable} lines of scored.jsonl could not be read.**")
    if run.unscored:
        lines = [[view.unscored(one), one.reason, f"{one.n:,}"] for one in run.unscored]
        parts.append(_table(["What was not scored", "Why", "How many"], lines))
    if view.faults:
        lines = [
            [
                group.reason,
                "no" if group.dropped else "yes",
                f"{len(group.where):,}",
                ", ".join(group.where[:3]) + (", …" if len(group.where) > 3 else ""),
            ]
            for group in view.faults
        ]
        head = ["Fault", "Scored all the same", "How many", "Where"]
        parts.append(_table(head, lines))
    return parts
