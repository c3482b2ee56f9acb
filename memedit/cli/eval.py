"""``memedit eval``: measure methods, or a running proxy, on a data set."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from memedit.cli import eval_data, eval_scope
from memedit.cli import options as opt
from memedit.cli.eval_aliases import AliasesFrom, aliases_said, listed_in
from memedit.cli.output import print_json_array
from memedit.errors import UnknownNameError

app = typer.Typer(invoke_without_command=True)
app.command("scope")(eval_scope.scope)
app.command("data")(eval_data.data)


@app.callback()
def evaluate(
    context: typer.Context,
    dataset: Annotated[
        str,
        typer.Option(
            metavar="atlasedit|FORMAT:FILE",
            help="atlasedit, atlasedit:DIR, or FORMAT:FILE[,FILE...]; the formats are knowedit, "
            "zsre, counterfact, mquake and hallueditbench. A folder means its files; several are "
            "joined by +. memedit eval data says what is in it.",
        ),
    ] = "atlasedit",
    method: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="none, in-context methods, adapters, baked methods; with --proxy: none, proxy. "
            "Settings of an adapter or a baked method follow its name, and the same method may "
            "come several times: grace:radius=3,grace:radius=6:search.steps=50.",
        ),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Checkpoint folder to measure on.")
    ] = None,
    proxy: Annotated[
        str | None, typer.Option(metavar="URL", help="A running proxy to measure through HTTP.")
    ] = None,
    setting: Annotated[
        str,
        typer.Option(
            metavar="single|batch[:N]|sequential:N,...",
            help="One edit at a time; all (or N cases) at once; N edits one after another, all "
            "scored at the end. Several are joined by commas: sequential:10,sequential:100.",
        ),
    ] = "single",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Cases in all, spread evenly over the tasks.")
    ] = None,
    all_edits: Annotated[
        bool,
        typer.Option(
            "--all-edits",
            help="With --setting batch: the edits of the whole data set are in force, and --limit "
            "says how many cases are asked about.",
        ),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep the run here and write report.html; the same command again goes on with a "
            "run that was broken off.",
        ),
    ] = None,
    compare: Annotated[
        Path | None, typer.Option(metavar="DIR", help="An earlier run's folder, for the report.")
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option(help="Only this task of the data set; repeatable.")
    ] = None,
    split: Annotated[str, typer.Option(help="AtlasEdit's split: test or train.")] = "test",
    aliases_from: AliasesFrom = None,
    scope: Annotated[
        str,
        typer.Option(
            metavar="router|always",
            help="always puts the edit in front of every prompt, in scope or not (in-context "
            "methods, single setting); the method's name then ends with +always.",
        ),
    ] = "router",
    form: Annotated[
        str,
        typer.Option(
            metavar="auto|chat|completion",
            help="auto: a prompt that ends with a question mark is a chat turn where the model "
            "can chat, anything else is continued.",
        ),
    ] = "auto",
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 64,
    general: Annotated[int, typer.Option(min=0, help="Far questions asked beside each case.")] = 2,
    fluency: Annotated[
        int, typer.Option(min=0, help="Cases whose prompts are continued for 100 tokens.")
    ] = 50,
    analysis: Annotated[
        int,
        typer.Option(
            min=0,
            help="Facts whose edits are looked into and traced, for the --report of a --model.",
        ),
    ] = 10,
    seed: Annotated[int, typer.Option(help="Of the bootstrap and of what is drawn.")] = 0,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where unedited answers are kept, and where 'memedit locate' and 'memedit "
            "moments' kept their findings when they were given it; else the user's cache folder.",
        ),
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="auto, float32, bfloat16 or float16; auto is float32 on a CPU.")
    ] = "auto",
    device: opt.Device = "auto",
    served: Annotated[
        str | None,
        typer.Option("--served-model", help="With --proxy: else the first that it lists."),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option("--key", envvar="MEMEDIT_INFERENCE_KEY", help="Key of the proxy's model API."),
    ] = None,
    admin_key: Annotated[
        str | None,
        typer.Option("--admin-key", envvar="MEMEDIT_KEY", help="Key of the proxy's edit API."),
    ] = None,
    trained: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="Folder of a trained part that is measured, of 'memedit train' for example: the "
            "report says which tasks are in its training's domain and which are not; repeatable.",
        ),
    ] = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Measure methods on a data set: what an edit changes, and what it leaves as it was.

    Generated answers and teacher-forced scores are rows of their own and never mixed; a summary
    stands at the end. What the data set holds, what in it cannot be scored, and which layers are
    edited, is said on stderr before anything is asked. Give --model or --proxy, not both.

    low and high bound 95% intervals; in --json they are null where none is known, as of one case.

    Exit codes: 0 measured; 2 the command line or a setting is wrong; 1 the data, the model or the
    proxy is not there or cannot be measured; 130 broken off.

    Example: memedit eval --dataset atlasedit --method none,ice,ft-m --model examples/atlas/model
    --limit 200 --report out
    """
    if context.invoked_subcommand is not None:
        return
    from memedit.cli import eval_parts as parts
    from memedit.cli import variants as methods
    from memedit.cli.eval_run import (
        analyse_edits,
        compared_before,
        kept_answers,
        manifest_of,
        open_base,
        print_rows,
        run,
        sequences,
        shown,
        trained_parts,
        unedited,
    )
    from memedit.cli.eval_told import (
        Count,
        given_by,
        need_cases,
        print_layers,
        print_summary,
        print_trained,
        told_when_interrupted,
    )
    from memedit.config import Settings
    from memedit.evaluation.datasets import load_dataset
    from memedit.evaluation.questions import Amounts
    from memedit.evaluation.report.run import read_run
    from memedit.evaluation.report.write import need_libraries, write_report
    from memedit.evaluation.run_folder import RunFolder
    from memedit.evaluation.settings import read_settings
    from memedit.evaluation.summary import summary

    if (model is None) == (proxy is None):
        raise typer.BadParameter("give --model DIR or --proxy URL, one of them.")
    if proxy is not None and not proxy.startswith(("http://", "https://")):
        raise typer.BadParameter(f"{proxy!r} is no URL.", param_hint="--proxy")
    if form not in ("auto", "chat", "completion"):
        raise typer.BadParameter(
            f"no form {form!r}; auto, chat or completion.", param_hint="--form"
        )
    if compare is not None and report is None:
        raise typer.BadParameter("a comparison is part of a --report.", param_hint="--compare")
    if report is not None:  # what the report will lack is said before anything is measured
        need_libraries()
    if compare is not None:
        with given_by("--compare"):
            read_run(compare)
    how = read_settings(setting)
    variants = methods.asked_variants(method, scope, how, proxy=proxy is not None)
    names = [one.name for one in variants]
    try:
        methods.check_variants(variants, proxy=proxy is not None)
    except UnknownNameError as error:
        raise typer.BadParameter(str(error), param_hint="--method") from None
    amounts = Amounts(max_tokens=max_tokens, general=general, fluent=fluency, seed=seed)
    settings = Settings.read(config)
    if model is not None:
        parts.check_parts(variants, settings)
    if all_edits and [str(one) for one in how] != ["batch"]:
        raise typer.BadParameter("is for --setting batch.", param_hint="--all-edits")
    data = load_dataset(dataset, split=split, limit=limit, tasks=task)
    need_cases(data)
    company = load_dataset(dataset, split=split).cases if all_edits else ()  # of all tasks
    if aliases_from is not None:
        data = replace(data, cases=listed_in(aliases_from, data.cases))
        company = listed_in(aliases_from, company) if company else ()
    own = parts.trained_folders(variants, settings) if model is not None else []
    with given_by("--trained"):
        learned = trained_parts(trained or [], own, data)
    held = sequences(how, data.cases)  # one that is too long is refused before a model is loaded

    count = Count(report)
    with ExitStack() as stack:
        stack.enter_context(told_when_interrupted(count))
        folder = report
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="memedit-eval-")))
        about: dict[str, Any] = {"setting": ",".join(map(str, how)), "methods": names, "form": form}
        about["scope"] = settings.scope.model_dump(mode="json")
        if model is not None:  # what stands behind a proxy is its own affair
            shown_first = settings.incontext.model_dump(mode="json", exclude={"chat", "completion"})
            about["incontext"] = shown_first
        about["company"] = len(company)
        about["aliases_from"] = aliases_said(aliases_from)
        about["trained"] = learned
        if model is not None:
            measured: Any = parts.open_model(model, form=form, dtype=dtype, device=device)
            base = open_base(measured, kept_answers(measured, cache))
            treatments = parts.local_treatments(variants, measured, base, settings, stack, cache)
            about["layers"] = parts.edited_layers(variants, measured, cache)
        else:
            measured, behind = stack.enter_context(
                parts.open_proxy(str(proxy), form=form, served=served, key=key, admin_key=admin_key)
            )
            # what is behind a proxy may change unseen: its answers are this run's alone
            base = open_base(measured, folder / "base.jsonl")
            made = {
                methods.PROXY: lambda: behind,
                methods.UNEDITED: lambda: unedited(base, measured),
            }
            treatments = [(name, made[name]) for name in names]
        about["model"] = {"name": measured.name, "fingerprint": base.fingerprint}
        about["compare"] = str(compare.resolve()) if compare is not None else None
        manifest = manifest_of(data, about, amounts, dtype if proxy is None else "")
        kept = RunFolder(folder, manifest)

        # Nothing is listed before all that can be refused has been.
        typer.echo(summary(data), err=True)
        if company:
            edits = sum(len(case.requests) for case in company)
            typer.echo(f"  in force: the {edits:,} edits of {len(company):,} cases", err=True)
        print_trained(learned)
        for line in held:
            typer.echo(line, err=True)
        print_layers(kept.manifest.get("layers", {}), names)

        rows = run(kept, base, measured, data, how, amounts, treatments, company, count)
        written = None
        if report is not None:
            if model is not None and analysis:
                whole = load_dataset(dataset, split=split).cases
                analyse_edits(report, measured, data, variants, analysis, whole, cache)
            written = write_report(report, report, compare or compared_before(kept.manifest))
    if json:
        print_json_array([shown(row) for row in rows])
    else:
        print_rows(rows)
        print_summary(rows, kept.manifest)
    if written is not None:
        typer.echo(f"report: {written}", err=True)
