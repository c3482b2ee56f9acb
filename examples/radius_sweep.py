"""What GRACE and MELO gain by a wider radius, and by a scope classifier in front of them.

    python -m examples.radius_sweep --split train --limit 60 --method grace:layer=6 \\
        --share 0.2 --share 0.4 --scope pair --plot radius.svg

The edits are learned once: what these two learn of an edit (a value, a block of LoRA) depends
neither on other edits nor on the radius.  For every radius, a share of the mean norm of the keys,
they are then placed one after another, and all prompts are asked: `alone`.  Behind a classifier a
prompt is asked with the part of the edit at work that it concerns, whatever the radius; where it
concerns none, of the model as it is (`behind NAME`) or with the adapter and its radius (`NAME or
radius`).  `NAME and radius` is the adapter with its radius, for prompts only that concern an edit.
Generated answers are scored as `memedit eval` scores them, over all tasks.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from memedit.adapters.catalog import open_adapter
from memedit.adapters.clusters import Clusters
from memedit.adapters.codebook import Codebook
from memedit.adapters.grace import Grace
from memedit.adapters.grading import grades
from memedit.adapters.melo import Melo
from memedit.cli.eval_parts import open_model, prompt_form
from memedit.cli.output import progress
from memedit.cli.routed_edits import Remembering, routed_edits
from memedit.cli.variants import Variant, read_variants
from memedit.config import ScopeSettings, Settings
from memedit.errors import SettingsError
from memedit.evaluation.adapted import without_contradictions
from memedit.evaluation.cases import EditCase, Metric
from memedit.evaluation.datasets import load_dataset
from memedit.evaluation.local import LocalModel
from memedit.evaluation.report.svg import color, dressed, figure, plain
from memedit.evaluation.rivals import LiveEdits
from memedit.evaluation.rows import Row, Scored, Scoring, rows
from memedit.evaluation.scoring import score_generated
from memedit.evaluation.settings import Mode, Setting
from memedit.modeling.delta import EditVersion
from memedit.scope.encoder import open_encoder

TASKS = ("zsre", "wiki_counterfact", "wiki_recent")
METRICS = ("edit_success", "generality", "locality", "locality_cleaned")
SHARES = (0.1, 0.2, 0.3, 0.4, 0.6, 0.8)
NARROW = 1e-4
"""The share with which edits are learned: no two of them share a value or a block."""
MOST_TOKENS = 24
ALONE = "alone"
STYLES: Sequence[Literal[":", "-", "--"]] = (":", "-", "--")
"""The lines of edit success, generality and locality."""


class Bench:
    """A model, the edits of a sequence, and what is asked at its end."""

    def __init__(self, model: LocalModel, cases: Sequence[EditCase]) -> None:
        self.model = model
        self.requests = [request for case in cases for request in case.requests]
        self.ids = [f"e{number}" for number in range(len(self.requests))]
        wanted = {Metric.EDIT_SUCCESS, Metric.GENERALITY, Metric.LOCALITY}
        self.asked = [(c, probe) for c in cases for probe in c.probes if probe.metric in wanted]
        self.live = LiveEdits(self.requests)
        self.before = self.answers(range(len(self.asked)), nullcontext())

    def answers(self, places: Sequence[int], work: AbstractContextManager[Any]) -> list[str]:
        """Let the model answer the prompts at these places greedily, with something at work."""
        with work:
            prompts = [self.asked[place][1].prompt for place in places]
            return [one.text for one in self.model.generate(prompts, MOST_TOKENS)]

    def scored(self, method: str, scope: str, said: Sequence[str]) -> list[Scored]:
        """Score the answers to all prompts."""
        found = []
        for (case, probe), now, old in zip(self.asked, said, self.before, strict=True):
            score = score_generated(probe, now, old)
            clean = probe.metric is Metric.LOCALITY and not self.live.asked_by(probe, case.requests)
            found.append(
                Scored(
                    method=method,
                    setting=scope,
                    task="",
                    case=case.id,
                    metric=probe.metric.value,
                    kind="",
                    scoring=Scoring.GENERATED.value,
                    prompt=probe.prompt,
                    expected=probe.answers,
                    said=now,
                    base_said=old,
                    score=score.score,
                    also={"cleaned": score.score} if clean else {},
                )
            )
        return found

    def concerned(self, name: str, encoder: Any, settings: Settings) -> list[str | None]:
        """Return for each prompt the edit that it concerns, by a scope classifier."""
        kind, _, folder = name.partition("=")
        chosen = ScopeSettings(classifier=kind, weights=Path(folder) if folder else None)
        prompts = [probe.prompt for _, probe in self.asked]
        with ExitStack() as stack:
            own = settings.model_copy(update={"scope": chosen})
            edits = routed_edits("ice", encoder, own, stack)
            # one after another, as they are learned: the later of two that contradict speaks
            stored = {
                edits.add([one], "all")[0]: i
                for one, i in zip(self.requests, self.ids, strict=True)
            }
            chat = [self.model.is_chat(prompt) for prompt in prompts]
            put = edits.inject(prompts, chat, ["all"] * len(prompts))
        return [stored[one.edits[0]] if one.edits else None for one in put]


def learned(bench: Bench, variant: Variant) -> Grace | Melo:
    """Learn all edits of a bench, each by itself.

    Raises:
        SettingsError: the method has no radius.

    """
    if variant.method not in ("grace", "melo"):
        raise SettingsError(f"{variant.method} has no radius; expected grace or melo")
    settings = {**variant.settings, "share": NARROW}
    adapter = open_adapter(variant.method, settings, prompt_form=prompt_form(bench.model))
    assert isinstance(adapter, Grace | Melo)
    named = {id(request): one for request, one in zip(bench.requests, bench.ids, strict=True)}
    with progress(variant.name) as tell:
        for part in without_contradictions(bench.requests):
            edits = [EditVersion(named[id(request)], 1) for request in part]
            adapter.learn(bench.model.model, bench.model.tokenizer, part, tell, edits=edits)
    return adapter


def place(bench: Bench, adapter: Grace | Melo, share: float) -> None:
    """Place all edits anew, one after another, with a radius of that share of the keys' norm."""
    held = {one.edit.id: one.request.target_new for one in adapter.held}
    if isinstance(adapter, Melo):
        assert adapter.clusters is not None
        points = {point.edit: point for point in adapter.clusters.points()}
        clusters = Clusters(share * _norm([point.key for point in points.values()]))
        for edit, label in held.items():
            clusters.place(edit, points[edit].key, label, points[edit].block)
            clusters.hold()
        adapter.clusters = clusters
        return
    assert adapter.codebook is not None
    keys = {entry.edit: entry.key for entry in adapter.codebook.entries}
    keys |= {member.edit: member.key for member in adapter.codebook.members}
    values = {edit: adapter.codebook.value_of(edit) for edit in keys}
    book = Codebook(share * _norm(list(keys.values())))
    for edit, label in held.items():
        book.place(edit, keys[edit], values[edit], label)
        book.hold()
    adapter.codebook = book
    model, tokenizer = bench.model.model, bench.model.tokenizer
    taught = [adapter.tokens(tokenizer, one.request) for one in adapter.held]
    with adapter.attached(model):
        _, said = grades(model, tokenizer, taught, 64)
    for edit, known in zip(held, said, strict=True):
        if not known:  # as in learning: another's value does not say it here
            book.promote(edit)
    book.hold()


def _norm(keys: Sequence[Any]) -> float:
    return sum(float(key.norm()) for key in keys) / len(keys)


def swept(
    bench: Bench,
    variant: Variant,
    shares: Sequence[float],
    concerned: dict[str, list[str | None]],
    tell: Any,
) -> list[Scored]:
    """Score a method alone, and behind classifiers that said what each prompt concerns."""
    adapter, model = learned(bench, variant), bench.model.model
    everywhere = range(len(bench.asked))
    behind = {name: list(bench.before) for name in concerned}
    held = {one.edit.id for one in adapter.held}
    picked = [
        {place: one for place, one in enumerate(whose) if one in held}
        for whose in concerned.values()
    ]
    parts: dict[str, list[int]] = {}
    for whose in picked:
        for at, edit in whose.items():
            if at not in parts.setdefault(str(edit), []):
                parts[str(edit)].append(at)
    said: dict[tuple[int, str], str] = {}
    for edit, places in parts.items():  # whichever classifier says so
        answers = bench.answers(places, adapter.attached_for(model, edit))
        said |= dict(zip([(at, edit) for at in places], answers, strict=True))
    found = []
    for name, whose in zip(concerned, picked, strict=True):
        for at, edit in whose.items():
            behind[name][at] = said[at, str(edit)]
        found += bench.scored(variant.name, f"behind {name}", behind[name])
    for share in shares:
        tell(f"{variant.name}: {share}")
        place(bench, adapter, share)
        alone = bench.answers(everywhere, adapter.attached(model))
        found += bench.scored(variant.name, f"{ALONE}|{share}", alone)
        for name, whose in zip(concerned, picked, strict=True):
            either = [behind[name][at] if at in whose else alone[at] for at in everywhere]
            found += bench.scored(variant.name, f"{name} or radius|{share}", either)
            both = [(alone if at in whose else bench.before)[at] for at in everywhere]
            found += bench.scored(variant.name, f"{name} and radius|{share}", both)
    return found


def told(found: Sequence[Row]) -> Table:
    """Return a line per method, scope and radius."""
    table = Table("method", "scope", "radius", *(name.replace("_", " ") for name in METRICS))
    lines: dict[tuple[str, str], dict[str, Row]] = {}
    for row in found:
        lines.setdefault((row.method, row.setting), {})[row.metric] = row
    for (method, setting), cells in lines.items():
        scope, _, share = setting.partition("|")
        shown = []
        for name in METRICS:
            cell = cells.get(name)
            bounds = (
                "" if cell is None or cell.low is None else f" ({cell.low:.2f}-{cell.high:.2f})"
            )
            shown.append("" if cell is None else f"{cell.value:.3f}{bounds}")
        table.add_row(method, scope, share, *shown)
    return table


def drawn(found: Sequence[Row]) -> Any:
    """Draw edit success, generality and locality against the radius, a panel per method."""
    found = [row for row in found if " and " not in row.setting]
    shown = {"edit_success": "edit success", "generality": "generality", "locality": "locality"}
    methods = list(dict.fromkeys(row.method for row in found))
    scopes = list(dict.fromkeys(row.setting.partition("|")[0] for row in found))
    made = figure(max(6.8, 4.4 * len(methods)), 3.8)
    for number, method in enumerate(methods):
        axes = dressed(made.add_subplot(1, len(methods), number + 1), method, grid="both")
        for place_, scope in enumerate(scopes):
            for style, metric in zip(STYLES, shown, strict=True):
                own = [
                    row
                    for row in found
                    if row.method == method
                    and row.metric == metric
                    and row.setting.partition("|")[0] == scope
                ]
                radii = [row.setting.partition("|")[2] for row in own]
                if own and all(radii):
                    xs = [float(one) for one in radii]
                    axes.plot(xs, [row.value for row in own], style, color=color(place_))
                elif own:  # the same at every radius
                    axes.axhline(own[0].value, linestyle=style, color=color(place_), alpha=0.8)
        axes.set_xlabel("radius, a share of the keys' norm")
        axes.set_ylim(-0.03, 1.03)
    from matplotlib.lines import Line2D

    names = [Line2D([], [], color=color(n), label=plain(scope)) for n, scope in enumerate(scopes)]
    lines = [
        Line2D([], [], linestyle=style, color="gray", label=title)
        for style, title in zip(STYLES, shown.values(), strict=True)
    ]
    made.legend(
        handles=[*names, *lines], loc="outside lower center", ncols=4, frameon=False, fontsize=8
    )
    return made


def save(made: Any, path: Path) -> None:
    """Write a picture as SVG on white, its text as text."""
    import matplotlib

    made.patch.set(facecolor="white", alpha=1.0)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "memedit"}):
        made.savefig(path, format="svg", metadata={"Date": None})


def main(arguments: Sequence[str] | None = None) -> None:
    """Sweep, and print, keep and draw what came out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--model", type=Path, default=Path("examples/atlas/model"))
    add("--split", default="train", choices=("train", "test"))
    add("--limit", type=int, default=60, help="edits")
    add("--method", action="append", required=True, help="grace or melo, with settings; repeatable")
    add("--share", action="append", type=float, help=f"repeatable; else {SHARES}")
    add("--scope", action="append", default=[], help="a classifier, NAME or NAME=DIR; repeatable")
    add("--out", type=Path, help="the numbers, as JSON")
    add("--plot", type=Path, help="the picture, as SVG")
    given = parser.parse_args(arguments)
    console = Console(width=140)
    data = load_dataset("atlasedit", split=given.split, limit=given.limit, tasks=TASKS)
    cases = Setting(Mode.SEQUENTIAL, given.limit).chosen(data.cases)
    model = open_model(given.model, form="auto", dtype="float32", device="cpu")
    bench = Bench(model, cases)
    settings = Settings.read(None)
    encoder = Remembering(open_encoder(settings.encoder)) if given.scope else None
    concerned = {
        one.partition("=")[0]: bench.concerned(one, encoder, settings) for one in given.scope
    }
    found: list[Scored] = []
    summed: list[Row] = []
    for variant in read_variants(",".join(given.method)):
        found += swept(bench, variant, given.share or SHARES, concerned, console.log)
        summed = [row for row in rows(found) if row.metric in METRICS and not row.kind]
        if given.out:  # what is there is kept, should the rest be broken off
            given.out.write_text(json.dumps([row.as_record() for row in summed], indent=1) + "\n")
    if given.plot:
        save(drawn(summed), given.plot)
    console.print(f"{len(bench.requests)} edits of {given.split}, {len(bench.asked)} prompts")
    console.print(told(summed))


if __name__ == "__main__":
    main()
