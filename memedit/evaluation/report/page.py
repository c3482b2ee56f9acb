"""The HTML page: one file, nothing fetched, no script; every text escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from memedit.evaluation.report import plots, plots_cost
from memedit.evaluation.report.labels import (
    COSTS,
    GLANCED,
    INTERVALS,
    MEASURES,
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
from memedit.evaluation.report.mistakes import classes
from memedit.evaluation.report.svg import inline
from memedit.evaluation.report.view import View

if TYPE_CHECKING:
    import jinja2
    import markupsafe
    from matplotlib.figure import Figure

    from memedit.evaluation.report.findings import Part


_BARS = "bars are 95% intervals, and what is hollow has none (one case, or all alike)"


@dataclass(frozen=True, slots=True)
class Drawn:
    """A plot as it stands in the page."""

    svg: Any
    """`markupsafe.Markup`: made by matplotlib, which escapes what it writes."""
    says: str


def page(view: View, analysis: Sequence[Part] = (), scope: Sequence[Part] = ()) -> str:
    """Render a run as HTML; needs jinja2 and matplotlib.

    Args:
        view: the run.
        analysis: what its edits did to the model.
        scope: what was measured of scope alone, see ``scope``.

    """
    environment = templates()
    environment.globals.update(
        measure=measure,
        measures=MEASURES,
        row_title=row_title,
        written=written,
        bounds=bounds,
        difference=difference,
        dict=dict,
    )
    environment.filters.update(
        clipped=clipped,
        duration=duration,
        number=number,
        size=size,
    )
    run = view.run
    shown = {
        "plots": _drawn(_score_plots(view), "scores"),
        "cost_plots": _drawn([(plots_cost.cost(run.spent), "What an edit costs.")], "cost"),
        "sequence_plots": _drawn(
            [
                (
                    plots_cost.by_length(run.rows, run.methods, run.scored),
                    f"All edits of a sequence are asked at its end; {_BARS}. The mean is over the "
                    "tasks that are measured at every length; edit success on opinions, which is "
                    "a floor, is not in it.",
                ),
                (
                    plots_cost.by_age(run.rows, run.methods),
                    "Edit success at the end of the sequence by age: how many edits were made "
                    f"after the one that is asked; {_BARS}.",
                ),
            ],
            "sequence",
        ),
        "mistake_plots": _drawn(
            [(plots.verdicts(view.mistakes), "Failed answers by class of error.")], "errors"
        ),
        "analysis": drawn_parts(analysis, "analysis"),
        "scope": drawn_parts(scope, "scope"),
    }
    return environment.get_template("report.html.j2").render(
        title=view.title,
        subtitle=view.subtitle,
        facts=view.facts,
        command=view.command,
        versions=view.versions,
        warnings=view.warnings,
        notes=view.notes,
        glance=view.glance,
        says={"repeat": REPEAT, "glance": GLANCED, "intervals": INTERVALS},
        notable=NOTABLE,
        several_settings=view.several_settings,
        scores=view.scores,
        scorings=dict(SCORINGS),
        meanings=view.meanings,
        spent=run.spent,
        costs=view.costs,
        cost_names=COSTS,
        ages=view.ages,
        mistakes=view.mistakes,
        mistakes_by_task=view.mistakes_by_task,
        unscored_name=view.unscored,
        classes=classes(view.mistakes),
        verdicts=dict(VERDICTS),
        faults=view.faults,
        unscored=run.unscored,
        unreadable=run.unreadable,
        comparison=view.comparison,
        contents=_contents(view, shown),
        css=css(),
        **shown,
    )


def templates() -> jinja2.Environment:
    """Return an environment with this folder's templates, which escapes every text."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FunctionLoader(_text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def css() -> markupsafe.Markup:
    """Return the style of every page."""
    import markupsafe

    return markupsafe.Markup(_text("report.css"))


def _text(name: str) -> str:
    return (resources.files("memedit.evaluation.report") / name).read_text(encoding="utf-8")


def drawn_parts(parts: Sequence[Part], name: str) -> list[dict[str, Any]]:
    """Return sections as templates show them; ``name`` tells their plots from others."""
    return [
        {
            "title": part.title,
            "says": part.says,
            "tables": part.tables,
            "plots": _drawn(part.plots, f"{name}{place}"),
        }
        for place, part in enumerate(parts)
    ]


def _score_plots(view: View) -> list[tuple[Figure | None, str]]:
    run = view.run
    found: list[tuple[Figure | None, str]] = []
    for scoring, _ in view.scores:
        name = SCORINGS[scoring][0] if scoring in SCORINGS else scoring
        for setting in run.settings:
            where = f" ({setting})" if view.several_settings else ""
            own = [row for row in run.rows if row.setting == setting]
            says = f"{name} scores by method{where}; {_BARS}."
            found.append((plots.scores(own, run.methods, scoring), says))
    found.append(
        (
            plots.tradeoff(run.rows, run.methods),
            "What an edit gains against what it moves, generated: up and to the right is better. "
            f"Points that would cover each other are drawn around one another; {_BARS}.",
        )
    )
    for metric in ("portability", "locality"):
        says = f"{measure(metric).title} by the data set's own kinds, generated; {_BARS}."
        found.append((plots.by_kind(run.rows, run.methods, metric), says))
    return found


def _drawn(figures: Sequence[tuple[Figure | None, str]], name: str) -> list[Drawn]:
    import markupsafe

    return [
        Drawn(markupsafe.Markup(inline(drawn, f"{name}{place}", says)), says)
        for place, (drawn, says) in enumerate(figures)
        if drawn is not None
    ]


def _contents(view: View, shown: dict[str, Any]) -> list[tuple[str, str]]:
    entries: list[tuple[str, str, Any]] = [
        ("summary", "Summary", True),
        ("plots", "Plots", shown["plots"]),
        *(
            (f"scores-{scoring}", f"Scores: {SCORINGS[scoring][0].lower()}", True)
            for scoring, _ in view.scores
            if scoring in SCORINGS
        ),
        ("cost", "Cost", view.run.spent),
        ("sequence", "Sequences", shown["sequence_plots"]),
        ("errors", "What went wrong", view.mistakes),
        ("analysis", "Inside the model", shown["analysis"]),
        ("scope", "Scope alone", shown["scope"]),
        ("comparison", "Comparison", view.comparison),
        ("faults", "Faults", True),
    ]
    return [(anchor, name) for anchor, name, there in entries if there]
