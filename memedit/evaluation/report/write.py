"""Writing the report of a run."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from memedit.errors import MissingResourceError
from memedit.evaluation.report.findings import parts
from memedit.evaluation.report.markdown import markdown
from memedit.evaluation.report.page import page
from memedit.evaluation.report.run import read_run
from memedit.evaluation.report.scope import ScopeMeasured, scope_parts
from memedit.evaluation.report.view import view


def write_report(run_dir: Path, out: Path, compare: Path | None = None) -> Path:
    """Write `report.html`, `report.md` and `rows.json` into a folder.

    Args:
        run_dir: the folder of a finished run: `manifest.json`, `rows.json`, and, where they are
            there, `scored.jsonl`, `cost.jsonl`, `analysis.json` and `scope.json`.
        out: the folder to write into, made where it is missing; may be `run_dir` itself.
        compare: the folder of an earlier run to set beside this one.

    Returns:
        the path of `report.html`.

    Raises:
        MissingResourceError: a file that is needed is missing, or jinja2 or matplotlib is.
        DatasetError: a file of the run cannot be read.

    """
    need_libraries()
    run = read_run(run_dir)
    arranged = view(run, read_run(compare) if compare else None)
    found = parts(run_dir)
    measured = ScopeMeasured.load(run_dir)
    scope = scope_parts(measured) if measured is not None else []
    html = page(arranged, found, scope)
    text = markdown(arranged, found, scope)
    rows = json.dumps([row.as_record() for row in run.rows], ensure_ascii=False, indent=1)
    out.mkdir(parents=True, exist_ok=True)
    (out / "rows.json").write_text(rows + "\n", encoding="utf-8")
    (out / "report.md").write_text(text, encoding="utf-8")
    written = out / "report.html"
    written.write_text(html, encoding="utf-8")
    return written


def need_libraries() -> None:
    """Check that what a report is written with is installed.

    Raises:
        MissingResourceError: jinja2 or matplotlib is not.

    """
    missing = [name for name in ("jinja2", "matplotlib") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingResourceError(
            f"the report needs {' and '.join(missing)}: pip install 'memedit[models]'"
        )
