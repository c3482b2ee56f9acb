"""One run of ``memedit eval``: its folder, its rows, what is printed of them."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from memedit import __version__
from memedit.cli.output import print_table, progress

if TYPE_CHECKING:
    from memedit.cli.variants import Variant
    from memedit.evaluation.base_answers import BaseAnswers
    from memedit.evaluation.cases import Dataset, EditCase
    from memedit.evaluation.questions import Amounts
    from memedit.evaluation.rows import Row
    from memedit.evaluation.settings import Setting

COLUMNS = ("method", "task", "setting", "metric", "kind", "scoring", "value", "low", "high", "n")
"""What a row of the JSON holds."""


def open_base(model: Any, file: Path) -> BaseAnswers:
    """Put what the unedited model says behind a file."""
    from memedit.evaluation.base_answers import BaseAnswers

    return BaseAnswers(model, file)


def kept_answers(model: Any, cache: Path | None) -> Path:
    """Return the file of a model's unedited answers."""
    from memedit.scope.encoder import default_cache_dir

    folder = cache if cache is not None else default_cache_dir().parent / "answers"
    return folder / f"{model.fingerprint}.jsonl"


def unedited(base: BaseAnswers, model: Any) -> Any:
    """Return the treatment that changes nothing."""
    from memedit.evaluation.treatments import Unedited

    return Unedited(base, model)


def manifest_of(
    data: Dataset, about: dict[str, Any], amounts: Amounts, dtype: str
) -> dict[str, Any]:
    """Say what is measured; the report shows it, and a run goes on only where it agrees."""
    import hashlib

    ids = "\n".join(case.id for case in data.cases)
    return {
        **about,
        "dataset": {
            "name": data.name,
            "fingerprint": data.fingerprint,
            "records": data.records,
            "cases": len(data.cases),
        },
        "cases": hashlib.sha256(ids.encode()).hexdigest(),
        "amounts": asdict(amounts),
        "dtype": dtype,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "finished": None,
        "command": shlex.join(["memedit", *sys.argv[1:]]),
        "commands": [shlex.join(["memedit", *sys.argv[1:]])],
        "versions": _versions(),
        "faults": [asdict(fault) for fault in data.faults],
        "not_scored": [],
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"memedit": __version__, "python": platform.python_version()}
    for name in ("torch", "transformers", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def run(
    folder: Path,
    manifest: dict[str, Any],
    base: BaseAnswers,
    model: Any,
    data: Dataset,
    setting: Setting,
    amounts: Amounts,
    treatments: Any,
    company: Sequence[EditCase] = (),
) -> list[Row]:
    """Measure all methods with a progress bar; say what was not scored."""
    from memedit.evaluation.run_folder import RunFolder
    from memedit.evaluation.runner import Runner

    kept = RunFolder(folder, manifest)
    runner = Runner(kept, base, model, data.cases, setting, amounts, company)
    with progress("evaluating") as bar:
        rows = runner.run(treatments, bar)
    for note in runner.folder.manifest["not_scored"]:
        typer.echo(f"{note['n']} x {note['what']}: {note['reason']}", err=True)
    return rows


def analyse_edits(
    folder: Path, model: Any, data: Dataset, variants: Sequence[Variant], limit: int
) -> None:
    """Look into some edits of the baked methods, and trace facts, for the report."""
    from memedit.cli.eval_parts import prompt_form
    from memedit.editing.catalog import EDITORS, open_editor
    from memedit.evaluation.analysis.analyse import analyse

    form = prompt_form(model)
    editors: dict[str, Any] = {
        one.name: open_editor(one.method, one.settings, prompt_form=form).resolved(
            model.model, model.tokenizer
        )
        for one in variants
        if one.method in EDITORS.names()
    }
    with progress("analysing") as bar:
        found = analyse(
            model.model,
            model.tokenizer,
            data.cases,
            editors=editors,
            trace=True,
            limit=limit,
            form=form,
            progress=bar,
        )
    found.save(folder)


def shown(row: Row) -> dict[str, Any]:
    """Return a row as it stands in the JSON."""
    record = row.as_record()
    return {name: record[name] for name in COLUMNS}


def print_rows(rows: Sequence[Row]) -> None:
    """Print a table with a column for each method, without the rows of secondary scores."""
    methods = list(dict.fromkeys(row.method for row in rows))
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        if _secondary(row.metric):
            continue
        key = (row.task, row.metric, row.kind, row.scoring.replace("_", " "))
        shown = f"{row.value:,.3f} [{row.low:,.3f}, {row.high:,.3f}] n={row.n}"
        lines.setdefault(key, {})[row.method] = shown
    print_table(
        ("task", "metric", "kind", "scoring", *methods),
        ([*key, *(cells.get(name, "") for name in methods)] for key, cells in lines.items()),
        title=f"setting {rows[0].setting}; mean, 95% interval, number of probes" if rows else "",
    )


def _secondary(metric: str) -> bool:
    """Tell whether a metric is a further score of a probe; --json has those, too."""
    ends = ("contains", "all_tokens", "log_probability", "fired", "right_edit")
    return metric.endswith(tuple(f"_{end}" for end in ends))
