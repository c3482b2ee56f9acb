"""What the page and the Markdown are made from: a run, arranged for reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from memedit.evaluation.cases import Fault
from memedit.evaluation.report.compare import Comparison, compared
from memedit.evaluation.report.glance import Glance, glances
from memedit.evaluation.report.labels import duration, meanings
from memedit.evaluation.report.mistakes import Mistakes, mistakes, mistakes_by_task
from memedit.evaluation.report.repeat import repeated
from memedit.evaluation.report.run import Run, Unscored
from memedit.evaluation.report.tables import Table, age_tables, cost_tables, score_tables
from memedit.evaluation.report.unmeasured import unmeasured
from memedit.evaluation.run_differences import layers_said, short_print
from memedit.evaluation.training_data import Domain

UNKNOWN = "not recorded"


@dataclass(frozen=True, slots=True)
class FaultGroup:
    """All faults of one kind."""

    reason: str
    dropped: bool
    where: tuple[str, ...]


@dataclass(frozen=True)
class View:
    """A run, arranged for reading; holds text and numbers, no markup."""

    run: Run
    title: str
    subtitle: str
    facts: tuple[tuple[str, str], ...]
    """What was measured, on what, when: (name, value)."""
    command: str
    versions: str
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    """What was not measured, and why."""
    glance: tuple[Glance, ...]
    """A table for each way of scoring."""
    scores: tuple[tuple[str, tuple[Table, ...]], ...]
    """(scoring, its tables): the two ways of scoring are apart."""
    meanings: tuple[tuple[str, str], ...]
    """(name, what it means) of every metric among the scores."""
    costs: tuple[Table, ...]
    ages: tuple[Table, ...]
    mistakes: tuple[Mistakes, ...]
    mistakes_by_task: tuple[tuple[str, tuple[Mistakes, ...]], ...]
    """(task, its counts); empty where there is one task."""
    faults: tuple[FaultGroup, ...]
    comparison: Comparison | None

    @property
    def several_settings(self) -> bool:
        """Whether settings have to be named to tell lines apart."""
        return len(self.run.settings) > 1

    def unscored(self, one: Unscored) -> str:
        """Name what was not scored, with its setting where there are several."""
        return f"{one.what} · {one.setting}" if one.setting and self.several_settings else one.what


def view(run: Run, earlier: Run | None = None) -> View:
    """Arrange a run, beside an earlier one where one is given."""
    comparison = compared(run, earlier) if earlier else None
    domains = domains_of(run.manifest)
    dataset, model = run.about("dataset"), run.about("model")
    shown = score_tables(run.rows, run.methods)
    scorings = tuple(dict.fromkeys(table.scoring or "" for table in shown))
    count = len(run.methods)
    return View(
        run=run,
        title=f"Knowledge editing on {dataset.get('name', 'a data set without a name')}",
        subtitle=f"{count} method{'s' * (count != 1)}: {', '.join(run.methods)}",
        facts=_facts(run, dataset, model),
        command=_command(run),
        versions=_named(run.manifest.get("versions") or {}),
        warnings=(*_no_test(domains), *(comparison.warnings if comparison else ())),
        notes=unmeasured(run),
        glance=glances(run.rows, run.methods, domains, run.spent),
        scores=tuple(
            (scoring, tuple(table for table in shown if (table.scoring or "") == scoring))
            for scoring in scorings
        ),
        meanings=tuple(meanings(line.metric for table in shown for line in table.lines)),
        costs=cost_tables(run.rows, run.methods),
        ages=age_tables(run.rows, run.methods),
        mistakes=tuple(mistakes(run.scored, run.methods)),
        mistakes_by_task=tuple(
            (task, tuple(counted)) for task, counted in mistakes_by_task(run.scored, run.methods)
        ),
        faults=_grouped(run.faults),
        comparison=comparison,
    )


def _facts(run: Run, dataset: Any, model: Any) -> tuple[tuple[str, str], ...]:
    records = [
        f"{dataset[key]:,} {key}"
        for key in ("records", "cases", "probes")
        if isinstance(dataset.get(key), int)
    ]
    settings = run.manifest.get("settings") or run.manifest.get("setting") or run.settings
    if isinstance(settings, str):
        settings = (settings,)
    return (
        ("Data set", _with_print(dataset)),
        ("Size", ", ".join(records) or UNKNOWN),
        ("Tasks", ", ".join(run.tasks) or "none"),
        ("Model", _with_print(model)),
        ("Setting", ", ".join(str(setting) for setting in settings) or UNKNOWN),
        *_layers(run),
        *_trained(run),
        ("Measured", _when(run)),
        ("Scored probes", f"{len(run.scored):,}" if run.scored else UNKNOWN),
    )


def _layers(run: Run) -> list[tuple[str, str]]:
    """Say which layers baked methods edited, where the run has that on record."""
    found = run.manifest.get("layers") or {}
    said = [f"{method}: {layers_said(record)}" for method, record in found.items()]
    return [("Edited layers", "; ".join(said))] if said else []


def _trained(run: Run) -> list[tuple[str, str]]:
    """Say what trained parts were trained on, and what the measured tasks are to them."""
    said = []
    for part in run.manifest.get("trained") or ():
        files = ", ".join(f"{file['format']} {file['file']}" for file in part["files"])
        tasks = "; ".join(f"{task} {domain}" for task, domain in part["domains"].items())
        said.append((f"{part['name']} was trained on", f"{files}: {tasks}"))
    return said


def _no_test(domains: Mapping[str, str]) -> list[str]:
    seen = [task for task, domain in domains.items() if domain == Domain.TRAINED]
    if not seen:
        return []
    return [f"A part was trained on the very data of {', '.join(seen)}: scores there are no test."]


def domains_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return what each task is to the trained parts: to the one that it is nearest to."""
    nearness = [str(domain) for domain in Domain]
    found: dict[str, str] = {}
    for part in manifest.get("trained") or ():
        for task, domain in part["domains"].items():
            found[task] = min(found.get(task, domain), domain, key=nearness.index)
    return found


def _command(run: Run) -> str:
    commands = run.manifest.get("commands") or run.manifest.get("command") or ()
    if isinstance(commands, str):
        commands = [commands]
    return repeated([str(command) for command in commands], run.methods) or UNKNOWN


def _with_print(about: Any) -> str:
    name = str(about.get("name") or UNKNOWN)
    found = about.get("fingerprint")
    return f"{name} ({short_print(found)})" if found else f"{name} (no fingerprint)"


def _when(run: Run) -> str:
    started, finished = run.manifest.get("started"), run.manifest.get("finished")
    if not started:
        return UNKNOWN
    try:
        begin = datetime.fromisoformat(str(started))
        text = begin.strftime("%Y-%m-%d %H:%M %Z").strip()
        if not finished:
            return f"{text}, not finished"
        took = (datetime.fromisoformat(str(finished)) - begin).total_seconds()
    except (ValueError, TypeError):
        return f"{started} to {finished or 'not finished'}"
    sittings = len(run.manifest.get("commands") or ())
    worked = run.manifest.get("worked")
    if sittings <= 1:
        return f"{text}, took {duration(worked if worked is not None else took)}"
    if worked is None:
        return f"{text}, {duration(took)} to the end of the last of {sittings} commands"
    return f"{text}, took {duration(worked)} in {sittings} commands, pauses not counted"


def _named(versions: Any) -> str:
    if isinstance(versions, dict):
        return ", ".join(f"{name} {version}" for name, version in versions.items())
    return str(versions)


def _grouped(faults: Sequence[Fault]) -> tuple[FaultGroup, ...]:
    groups: dict[tuple[bool, str], list[str]] = {}
    for fault in faults:
        groups.setdefault((not fault.dropped, fault.reason), []).append(fault.where)
    return tuple(
        FaultGroup(reason, not scored, tuple(where))
        for (scored, reason), where in sorted(groups.items(), key=lambda g: (g[0][0], -len(g[1])))
    )
