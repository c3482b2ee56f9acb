"""What was measured of scope alone, as a report of its own or as sections of a run's report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from memedit.errors import DatasetError
from memedit.evaluation.report.findings import Part, PlainTable
from memedit.evaluation.report.labels import DASH, number

if TYPE_CHECKING:
    from memedit.evaluation.plots_scope import Curve

FILE: Final = "scope.json"
_REPEAT: Final = "To repeat it"


@dataclass(frozen=True)
class ScopeMeasured:
    """What ``memedit eval scope`` counted, with what is needed to count it again."""

    dataset: Mapping[str, Any]
    """``name`` and ``fingerprint``."""
    command: str
    measured: str
    """The moment, ISO 8601."""
    versions: Mapping[str, str]
    unrelated: int
    """Cleaned unrelated prompts, which the curves' false alarms are shares of."""
    rates: tuple[float, ...]
    """Accepted shares of false alarms."""
    rows: tuple[Mapping[str, Any], ...]
    """Every ``ScopeRow`` as a record, with its ``classifier``."""
    curves: Mapping[str, Mapping[str, Curve]]
    """By classifier (and number of edits, where there are several), then by kind of prompt."""

    def save(self, folder: Path) -> None:
        """Write ``scope.json`` into a folder, which is made where it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(self), ensure_ascii=False, indent=1)
        (folder / FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> ScopeMeasured | None:
        """Read a folder's ``scope.json``; None where it has none.

        Raises:
            DatasetError: it is not what ``save`` writes.

        """
        path = folder / FILE
        if not path.exists():
            return None
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            found = {field.name: record[field.name] for field in fields(cls)}
            return cls(**found | {"rates": tuple(found["rates"]), "rows": tuple(found["rows"])})
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(
                f"{path} cannot be read ({error}); expected what 'memedit eval scope --report' "
                "writes: measure it again"
            ) from None


def scope_parts(found: ScopeMeasured, *, alone: bool = False) -> list[Part]:
    """Return the sections: the curves, then for each number of edits in memory its tables.

    ``alone``: the page says by itself what was measured and how.
    """
    from memedit.evaluation.plots_scope import rivals_figure  # which needs this package itself

    sizes = list(dict.fromkeys(row["edits_in_memory"] for row in found.rows))
    drawn = rivals_figure(found.curves, found.rates, found.unrelated, on_page=True)
    marked = " and ".join(f"{rate:g}" for rate in found.rates)
    curves = Part(
        "Recall against false alarms",
        (
            *(() if alone else (f"Without a language model, {found.measured}: {found.command}",)),
            "At every threshold: the share of prompts of a kind on which the right edit fires, "
            "against the share of the unrelated prompts on which any edit does. Up and to the left "
            "is better. Unrelated prompts that may ask what an edit changes are left out.",
        ),
        ((drawn, f"A panel per kind of prompt; dashed: {marked} of false alarms."),),
        (),
    )
    return [curves, *(_part(found, size) for size in sizes)]


def write_scope_report(found: ScopeMeasured, out: Path) -> Path:
    """Write ``report.html`` and ``report.md`` of scope alone into a folder that is there.

    Returns:
        the path of ``report.html``.

    """
    from memedit.evaluation.report.markdown import heading, sections
    from memedit.evaluation.report.page import css, drawn_parts, templates

    parts = scope_parts(found, alone=True)
    classifiers = list(dict.fromkeys(row["classifier"] for row in found.rows))
    title = f"Scope on {found.dataset['name']}"
    plural = "s" * (len(classifiers) != 1)
    subtitle = f"{len(classifiers)} classifier{plural}: {', '.join(classifiers)}"
    sizes = dict.fromkeys(f"{row['edits_in_memory']:,}" for row in found.rows)
    asked = {row["kind"]: row["n"] for row in found.rows if not row["cleaned"]}
    facts = (
        ("Data set", f"{found.dataset['name']} ({found.dataset['fingerprint'][:12]})"),
        ("Edits in memory", ", ".join(sizes)),
        ("Prompts", f"{sum(asked.values()):,} of {len(asked)} kinds"),
        ("Unrelated, cleaned", f"{found.unrelated:,}"),
        ("Measured", found.measured),
    )
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    html = (
        templates()
        .get_template("scope.html.j2")
        .render(
            title=title,
            subtitle=subtitle,
            facts=facts,
            repeat=_REPEAT,
            command=found.command,
            parts=drawn_parts(parts, "scope"),
            versions=versions,
            css=css(),
        )
    )
    blocks = [*heading(title, subtitle, facts, found.command, _REPEAT), *sections(parts)]
    (out / "report.md").write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    written = out / "report.html"
    written.write_text(html, encoding="utf-8")
    return written


def _part(found: ScopeMeasured, size: int) -> Part:
    rows = [row for row in found.rows if row["edits_in_memory"] == size]
    at = list(dict.fromkeys((row["threshold_from"], row["accepted"]) for row in rows))
    at.sort(key=lambda one: one[1] is not None)  # the shipped threshold first
    tables = [_at(rows, *one) for one in at]
    shipped = [row for row in rows if row["accepted"] is None]
    return Part(
        f"{size:,} edits in memory",
        (
            "Recall: the share of prompts on which the right edit fires. False alarms: of prompts "
            "that no edit answers the share on which one fires; cleaned of those that may ask what "
            "an edit changes.",
        ),
        (),
        (
            *tables,
            _beside(shipped, "auroc", "AUROC against the cleaned unrelated prompts"),
            _beside(shipped, "calibration_error", "Calibration error"),
            _everything(rows),
        ),
    )


def _at(rows: Sequence[Mapping[str, Any]], source: str, accepted: float | None) -> PlainTable:
    own = [row for row in rows if (row["threshold_from"], row["accepted"]) == (source, accepted)]
    caption = (
        "At the shipped threshold"
        if accepted is None
        else f"Where {accepted:g} of the cleaned unrelated prompts fire"
    )
    thresholds = {row["classifier"]: row["threshold"] for row in own}
    said = ", ".join(f"{name} {number(value)}" for name, value in thresholds.items())
    lines = [
        (*_kind(group[0]), *(number(_fires(row)) for row in group), f"{group[0]['n']:,}")
        for group in _by_kind(own)
    ]
    return PlainTable(f"{caption} ({said})", ("Prompts", "Share", *thresholds, "n"), tuple(lines))


def _beside(rows: Sequence[Mapping[str, Any]], field: str, caption: str) -> PlainTable:
    """Set one number of the classifiers beside each other; kinds that have none are left out."""
    groups = [group for group in _by_kind(rows) if group[0][field] is not None]
    lines = [
        (_kind(group[0])[0], *(number(row[field]) for row in group), f"{group[0]['n']:,}")
        for group in groups
    ]
    names = dict.fromkeys(row["classifier"] for row in rows)
    return PlainTable(caption, ("Prompts", *names, "n"), tuple(lines))


def _everything(rows: Sequence[Mapping[str, Any]]) -> PlainTable:
    shown = {
        "auroc": "AUROC",
        "recall": "Recall",
        "own_edit": "Right edit where one fires",
        "right_label": "Right label where it is recalled",
        "false_alarms": "False alarms",
        "threshold": "Threshold",
        "calibration_error": "Calibration error",
    }
    lines = [
        (
            row["classifier"],
            _kind(row)[0],
            f"{row['n']:,}",
            "shipped" if row["accepted"] is None else f"file, {row['accepted']:g}",
            *(DASH if row.get(field) is None else number(row[field]) for field in shown),
        )
        for row in rows
    ]
    head = ("Classifier", "Prompts", "n", "Threshold from", *shown.values())
    return PlainTable(f"All {len(lines)} rows", head, tuple(lines), folded=True)


def _by_kind(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    found: dict[tuple[str, bool], list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["kind"], row["cleaned"]), []).append(row)
    return list(found.values())


def _kind(row: Mapping[str, Any]) -> tuple[str, str]:
    name = str(row["kind"]).replace("_", " ") + (", cleaned" if row["cleaned"] else "")
    return name, "false alarms" if row["recall"] is None else "recall"


def _fires(row: Mapping[str, Any]) -> float:
    value = row["false_alarms"] if row["recall"] is None else row["recall"]
    return float(value)
