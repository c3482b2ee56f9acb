"""``memedit eval data``: what a data set holds, and what in it cannot be scored; asks nothing."""

from __future__ import annotations

from typing import Annotated

import typer

from memedit.cli.output import print_json


def data(
    dataset: Annotated[
        str,
        typer.Option(
            metavar="FORMAT:FILE",
            help="atlasedit, FORMAT:FILE[,FILE...] or FORMAT:FOLDER, as for memedit eval.",
        ),
    ] = "atlasedit",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Cases in all, spread evenly over the tasks.")
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option(help="Only this task of the data set; repeatable.")
    ] = None,
    split: Annotated[str, typer.Option(help="AtlasEdit's split: test or train.")] = "test",
    faults: Annotated[
        bool, typer.Option("--faults", help="Name every fault, where else two of each are named.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with every fault, instead of text.")
    ] = False,
) -> None:
    """Count what a data set holds: records, cases, edits, probes by kind, and what is wrong.

    A record that cannot be scored is counted and named; where that is all of them, the command
    ends with 1. No model is needed.

    Example: memedit eval data --dataset knowedit:benchmarks/knowedit
    """
    from memedit.cli.eval_told import need_cases
    from memedit.evaluation.datasets import load_dataset
    from memedit.evaluation.summary import summary

    found = load_dataset(dataset, split=split, limit=limit, tasks=task)
    if json:
        from dataclasses import asdict

        print_json(
            {
                "dataset": found.name,
                "fingerprint": found.fingerprint,
                "files": [asdict(file) for file in found.files],
                "records": found.records,
                "cases": len(found.cases),
                "edits": sum(len(case.requests) for case in found.cases),
                "probes": [
                    {"task": of, "metric": metric, "kind": kind, "n": n}
                    for (of, metric, kind), n in found.probes.items()
                ],
                "faults": [asdict(fault) for fault in found.faults],
            }
        )
    else:
        typer.echo(summary(found))
        for fault in found.faults if faults else ():
            typer.echo(f"{fault.where}: {fault.reason}{'' if fault.dropped else ' (scored)'}")
    need_cases(found)
