"""The command that finds which layers of a model to edit."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memedit.cli import options as opt
from memedit.cli.output import print_json, print_table, progress
from memedit.errors import MissingResourceError, SettingsError

if TYPE_CHECKING:
    from memedit.modeling.trace import Trace


def locate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Checkpoint folder.")],
    prompts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Known facts: KnowEdit's JSON, or known_1000.json; else AtlasEdit's train split.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Try at most so many facts.")] = 100,
    window: Annotated[
        int | None,
        typer.Option(min=1, help="Layers put back together; else 1 up to 12 layers, then 5-10."),
    ] = None,
    noise: Annotated[
        float, typer.Option(min=0.01, help="Noise, in deviations of the subjects' embeddings.")
    ] = 3.0,
    samples: Annotated[int, typer.Option(min=1, help="Draws of noise per fact.")] = 3,
    threshold: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="A fact is known from this probability on.")
    ] = 0.5,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw it: .svg, .png or .pdf.")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where the layers are kept, for commands with the same --cache; else the user's "
            "cache folder, for all.",
        ),
    ] = None,
    keep: Annotated[
        bool | None,
        typer.Option(
            "--keep/--no-keep",
            help="Keep a choice that is not sure, too; or keep none, and only show it. Left out, "
            "a choice is kept where it is sure.",
            show_default=False,
        ),
    ] = None,
    dtype: opt.Dtype = "auto",
    device: opt.Device = "auto",
    json: opt.Json = False,
) -> None:
    """Find by causal tracing which layers recall facts, and keep them as the layers to edit.

    Noise on a subject's embeddings makes the model forget; putting one clean state back shows
    which layer, at which token, brings the answer back. The layer whose MLP brings most of it back
    at the subject's last token is kept under the model's fingerprint, and baked methods whose
    settings name no layer edit there (memedit eval, bake and moments).

    The choice is sure where the layer brings something back, and more than the next one does,
    beyond chance (95%, over facts). One that is not is shown and not kept, and what was kept
    before stays: trace more facts, or keep it all the same with --keep.

    That tracing picks the layer that edits best is not sure either (Hase et al. 2023):
    memedit eval --method rome:layer=2,rome:layer=3 measures it.

    Example: memedit locate examples/atlas/model --limit 40 --plot trace.svg
    """
    if prompts is None:
        prompts = _atlas_facts()
    from memedit.engine.loading import load_model, need_models_extra

    need_models_extra()
    from memedit.evaluation.plots_trace import check_format, save_trace_plot
    from memedit.evaluation.trace_prompts import read_trace_prompts
    from memedit.modeling.forms import AutoForm
    from memedit.modeling.loading_bar import without_loading_bar
    from memedit.modeling.locate import default_site, propose, save_site
    from memedit.modeling.trace import trace_record
    from memedit.modeling.tracing import TraceConfig, trace

    if plot is not None:
        check_format(plot)
        if not plot.absolute().parent.is_dir():
            raise SettingsError(f"--plot: {plot.absolute().parent} is not there to draw {plot} in")
    facts, faults = read_trace_prompts(prompts, limit)
    with without_loading_bar():
        loaded = load_model(model, dtype=dtype, device=device)
    config = TraceConfig(
        noise=noise, samples=samples, window=window, threshold=threshold, seed=seed
    )
    with progress("tracing") as tell:
        found = trace(
            loaded.model,
            loaded.tokenizer,
            facts,
            config,
            form=AutoForm.of(loaded.tokenizer),
            progress=tell,
        )
    if plot is not None:  # also of a trace from which nothing can be proposed
        save_trace_plot(found, plot)
    site = propose(found)
    certain, sure = _certainty(found, site.layer)
    site = replace(site, sure=sure)
    kept = save_site(site, cache) if (sure if keep is None else keep) else None
    if json:
        from dataclasses import asdict

        unread = [{"record": fault.where, "reason": fault.reason} for fault in faults]
        print_json(
            {
                "model": str(model),
                "site": asdict(site),
                "stored": None if kept is None else str(kept),
                "unread": unread,
                "trace": trace_record(found),
            }
        )
        return
    _print_trace(found)
    if faults:
        typer.echo(
            f"{len(faults)} records not read; the first: {faults[0].where}: {faults[0].reason}"
        )
    for line in certain:
        typer.echo(line)
    several = ", ".join(map(str, site.layers))
    typer.echo(f"layer {site.layer} for methods that edit one; {several} for those that edit more")
    if kept is not None:
        typer.echo(f"kept in {kept}")
    else:
        used = default_site(loaded.model, site.fingerprint, cache)
        whence = "located before" if used.source == "located" else "a rule"
        why = "" if sure else ", as it is not sure: trace more facts (--limit), or give --keep"
        typer.echo(f"not kept{why}; baked methods go on with layer {used.layer} ({whence})")
    if plot is not None:
        typer.echo(f"drawn in {plot}")


def _certainty(found: Trace, layer: int) -> tuple[list[str], bool]:
    """Say what the proposed layer brings back, of how many facts that is asked, and how surely.

    Returns:
        lines to print, and whether the choice is sure.

    """
    from memedit.evaluation.analysis.record import TAKEN
    from memedit.modeling.trace import Kind, Position, estimate

    profile = {cell.layer: cell.effect for cell in found.profile(Kind.MLP, Position.SUBJECT_LAST)}
    effect = profile.pop(layer)
    taken = found.clean.mean - found.corrupted.mean
    width = f" in windows of {found.window}" if found.window > 1 else ""
    lines = [
        f"the MLP of layer {layer}{width}, at the subject's last token, brings back "
        f"{effect.mean:.3f} (95%: {effect.low:.3f} to {effect.high:.3f}) of the {taken:.3f} that "
        "noise takes"
    ]
    if still := sum(one.clean - one.corrupted < TAKEN for one in found.profiles):
        lines.append(f"from {still} of the {found.known} facts noise takes less than {TAKEN}")
    sure = effect.low > 0
    if profile:
        following = max(profile, key=lambda other: profile[other].mean)
        # Of the same facts: what one fact gives back under the one layer and under the other.
        more = estimate(
            [
                one.restored[Kind.MLP][layer] - one.restored[Kind.MLP][following]
                for one in found.profiles
            ]
        )
        sure = sure and more.low > 0
        lines.append(
            f"the next, layer {following}, brings back {profile[following].mean:.3f}: "
            f"{more.mean:.3f} less (95%: {more.low:.3f} to {more.high:.3f})"
        )
    if not sure:
        lines.append("the choice is not sure")
    return lines, sure


def _atlas_facts() -> Path:
    """Return the facts of the reference model's world.

    Raises:
        SettingsError: they do not lie here, so that facts must be given.

    """
    from memedit.evaluation.datasets import atlasedit_folder

    try:
        return atlasedit_folder() / "wiki_counterfact_train.json"
    except MissingResourceError as error:
        raise SettingsError(
            "--prompts is missing: give facts that the model knows, as a JSON list of records with "
            "prompt, subject and ground_truth (a file of KnowEdit or AtlasEdit) or attribute "
            f"(known_1000.json); AtlasEdit, the default, is not here: {error}"
        ) from None


def _print_trace(found: Trace) -> None:
    """Print the indirect effects, a row per layer, and what was not traced."""
    from memedit.modeling.trace import Position

    kinds = list(dict.fromkeys(cell.kind for cell in found.cells))
    columns = [
        (kind, at)
        for kind in kinds
        for at in Position
        if any(cell.kind == kind and cell.position == at for cell in found.cells)
    ]
    effects: dict[tuple[Any, ...], str] = {
        (cell.kind, cell.position, cell.layer): f"{cell.effect.mean:+.3f}" for cell in found.cells
    }
    print_table(
        ("layer", *(f"{kind}\n{at.replace('_', ' ')}" for kind, at in columns)),
        (
            [str(layer), *(effects.get((kind, at, layer), "-") for kind, at in columns)]
            for layer in range(found.n_layers)
        ),
        title="indirect effect: the answer's probability with one state put back, minus without",
    )
    typer.echo(
        f"{found.known} of {found.asked} facts traced: probability {found.clean.mean:.3f} as it "
        f"is, {found.corrupted.mean:.3f} with noise on the subject"
    )
    reasons = Counter(one.reason.split(":")[0] for one in found.skipped)
    for reason, count in reasons.most_common(5):
        typer.echo(f"{count} not traced: {reason}")
