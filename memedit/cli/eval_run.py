"""One run of ``memedit eval``: its folder, its rows, what is printed of them."""

from __future__ import annotations

import platform
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from memedit import __version__
from memedit.cli.output import print_table, progress

if TYPE_CHECKING:
    from memedit.cli.eval_told import Count
    from memedit.cli.variants import Variant
    from memedit.evaluation.base_answers import BaseAnswers
    from memedit.evaluation.cases import Dataset, EditCase
    from memedit.evaluation.questions import Amounts
    from memedit.evaluation.rows import Row
    from memedit.evaluation.run_folder import RunFolder
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

    from memedit.evaluation.run_folder import LAYOUT

    ids = "\n".join(case.id for case in data.cases)
    return {
        "layout": LAYOUT,
        **about,
        "dataset": {
            "name": data.name,
            "fingerprint": data.fingerprint,
            "records": data.records,
            "cases": len(data.cases),
            "tasks": sorted({case.task for case in data.cases}),
        },
        "cases": hashlib.sha256(ids.encode()).hexdigest(),
        "unmeasured": list(data.left_out),
        "amounts": asdict(amounts),
        "dtype": dtype,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "finished": None,
        "command": shlex.join(["memedit", *sys.argv[1:]]),
        "commands": [shlex.join(["memedit", *sys.argv[1:]])],
        "versions": versions(),
        "faults": [asdict(fault) for fault in data.faults],
        "not_scored": [],
    }


def versions() -> dict[str, str]:
    """Return the versions of what measures, by package."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"memedit": __version__, "python": platform.python_version()}
    for name in ("torch", "transformers", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def run(
    kept: RunFolder,
    base: BaseAnswers,
    model: Any,
    data: Dataset,
    settings: Sequence[Setting],
    amounts: Amounts,
    treatments: Any,
    company: Sequence[EditCase] = (),
    count: Count | None = None,
) -> list[Row]:
    """Measure all methods in all settings with a progress bar; say what was not scored."""
    from memedit.evaluation.runner import Runner, run_settings
    from memedit.memory.inverse import inverse_of

    runners = [
        Runner(kept, base, model, data.cases, setting, amounts, company, inverse_of)
        for setting in settings
    ]
    with progress("evaluating") as bar:
        rows = run_settings(runners, treatments, bar if count is None else count.around(bar))
    for note in kept.manifest["not_scored"]:
        where = f" ({note['setting']})" if len(settings) > 1 and "setting" in note else ""
        typer.echo(f"{note['n']} x {note['what']}{where}: {note['reason']}", err=True)
    return rows


def sequences(settings: Sequence[Setting], cases: Sequence[EditCase]) -> list[str]:
    """Say what each sequence holds, a line each; other settings hold all cases.

    Raises:
        SettingsError: a sequence is to be longer than the data set.

    """
    from memedit.evaluation.settings import Mode

    lines = []
    for setting in settings:
        chosen = setting.chosen(cases)
        if setting.mode is Mode.SEQUENTIAL:
            edits = sum(len(case.requests) for case in chosen)
            tasks = Counter(case.task for case in chosen)
            shares = ", ".join(f"{n:,} {task}" for task, n in tasks.items())
            none = [task for task in dict.fromkeys(case.task for case in cases) if not tasks[task]]
            left_out = f"; no room for {', '.join(none)}" if none else ""
            lines.append(
                f"  {setting}: {edits:,} edits of {len(chosen):,} cases ({shares}){left_out}"
            )
    return lines


def trained_parts(
    folders: Sequence[Path], own: Sequence[Path], data: Dataset
) -> list[dict[str, Any]]:
    """Tell what the measured tasks are to trained parts: in their training's domain, or another.

    Args:
        folders: of the parts that the command names.
        own: those of the measured methods, which count where they say what they were trained on.
        data: what is measured.

    Returns:
        what stands in the manifest, a record for each part.

    Raises:
        MissingResourceError: a named folder is not there.
        InvalidInputError: nothing in it says what it was trained on.

    """
    from memedit.errors import MemeditError
    from memedit.evaluation.training_data import read_trained

    parts = [read_trained(folder) for folder in dict.fromkeys(folders)]
    for folder in dict.fromkeys(own):
        if folder not in folders:
            with suppress(
                MemeditError
            ):  # it need not say; what else is wrong comes when it is used
                parts.append(read_trained(folder))
    return [part.record(data.files) for part in parts]


def compared_before(manifest: Mapping[str, Any]) -> Path | None:
    """Return the run that an earlier command compared this one with, as long as it is there."""
    from memedit.errors import MemeditError
    from memedit.evaluation.report.run import read_run

    if not (named := manifest.get("compare")):
        return None
    try:
        read_run(Path(named))
    except MemeditError as error:
        typer.echo(f"not compared with {named} any more: {error}", err=True)
        return None
    return Path(named)


def analyse_edits(
    folder: Path,
    model: Any,
    data: Dataset,
    variants: Sequence[Variant],
    limit: int,
    whole: Sequence[EditCase] = (),
    cache: Path | None = None,
) -> None:
    """Look into some edits of the baked methods, and trace facts, for the report.

    The wordings of the `whole` data set tell which relations its facts are of. What an earlier
    command found of other methods is kept.
    """
    from memedit.cli.eval_parts import open_baked, prompt_form
    from memedit.editing.catalog import EDITORS
    from memedit.errors import MemeditError
    from memedit.evaluation.analysis.analyse import analyse
    from memedit.evaluation.analysis.record import Analysis

    form = prompt_form(model)
    editors: dict[str, Any] = {
        one.name: open_baked(one, model, cache).resolved(model.model, model.tokenizer)
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
            among=whole,
            form=form,
            progress=bar,
        )
    with suppress(MemeditError):  # of another version: it is made anew
        if (before := Analysis.load(folder)) is not None:
            found = found.with_others(before, editors)
    found.save(folder)


def shown(row: Row) -> dict[str, Any]:
    """Return a row as it stands in the JSON, whose form knows two scorings.

    A cost, which is no score, stands there as measured while generating. Where no interval is
    known (of one case, and of what is no mean over cases), `low` and `high` are None.
    """
    from memedit.evaluation.rows import Scoring

    record = row.as_record()
    record["scoring"] = row.scoring or Scoring.GENERATED.value
    return {name: record[name] for name in COLUMNS}


def print_rows(rows: Sequence[Row]) -> None:
    """Print a table with a column for each method, without the rows of secondary scores."""
    methods = list(dict.fromkeys(row.method for row in rows))
    settings = list(dict.fromkeys(row.setting for row in rows))
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        if _secondary(row.metric):
            continue
        scoring = (row.scoring or "cost").replace("_", " ")
        where = (row.setting,) if len(settings) > 1 else ()
        bounds = "" if row.low is None else f" [{row.low:,.3f}, {row.high:,.3f}]"
        key = (row.task, *where, row.metric, row.kind, scoring)
        lines.setdefault(key, {})[row.method] = f"{row.value:,.3f}{bounds} n={row.n}"
    column = ("setting",) if len(settings) > 1 else ()
    print_table(
        ("task", *column, "metric", "kind", "scoring", *methods),
        ([*key, *(cells.get(name, "") for name in methods)] for key, cells in lines.items()),
        title=f"setting {', '.join(settings)}; mean, 95% interval, number of probes",
    )


def _secondary(metric: str) -> bool:
    """Tell whether a metric is a further score of a probe; --json has those, too."""
    ends = ("contains", "all_tokens", "log_probability", "fired", "right_edit")
    return metric.endswith(tuple(f"_{end}" for end in ends))
