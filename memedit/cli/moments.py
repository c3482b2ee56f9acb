"""The command that takes the statistics which ROME, MEMIT and their kin weigh changes by."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from memedit.cli import options as opt
from memedit.cli.output import print_json, progress
from memedit.errors import SettingsError

Corpus = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Text for statistics: paragraphs, or .jsonl with a 'text'; else the model samples "
        "its own.",
    ),
]
Texts = Annotated[
    int, typer.Option(min=1, help="For statistics: texts to sample, or to take of the corpus.")
]
TEXTS = 1000


def moments(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Checkpoint folder.")],
    corpus: Corpus = None,
    texts: Texts = TEXTS,
    layer: Annotated[
        list[int] | None,
        typer.Option(min=0, help="Of this layer; repeatable. Else of those that are edited."),
    ] = None,
    share: Annotated[
        str,
        typer.Option(metavar="I/N", help="Take only this share; the last process adds all up."),
    ] = "1/1",
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where they are kept, and where 'memedit locate --cache' kept the layers; else "
            "the user's cache folder.",
        ),
    ] = None,
    dtype: opt.Dtype = "auto",
    device: opt.Device = "auto",
    json: opt.Json = False,
) -> None:
    """Take second moments of a model's keys, and keep them for 'memedit bake'.

    They are kept by the model's fingerprint, the corpus's and the layer, so that 'memedit bake'
    with the same --corpus and --texts finds them; without this command it takes them itself. What
    was broken off goes on. Several processes that share the cache take a share each (--share 1/4,
    2/4, ...) and may run at the same time, on different machines too.

    Example: memedit moments examples/atlas/model --corpus wiki.txt --share 1/2
    """
    given = re.fullmatch(r"(\d+)/(\d+)", share)
    if given is None or not 1 <= int(given[1]) <= int(given[2]):
        raise SettingsError(f"--share {share!r}: expected I/N, such as 1/4, 2/4, 3/4 and 4/4")
    from memedit.engine.loading import load_model, need_models_extra

    need_models_extra()
    from memedit.editing.statistics import Statistics
    from memedit.modeling.architecture import architecture
    from memedit.modeling.loading_bar import without_loading_bar
    from memedit.modeling.locate import default_site
    from memedit.modeling.moments import SecondMoment

    statistics = Statistics(corpus, texts=texts, cache=cache)
    with without_loading_bar():
        loaded = load_model(model, dtype=dtype, device=device)
    parts = architecture(loaded.model)
    layers = sorted(set(layer)) if layer else list(default_site(loaded.model, cache=cache).layers)
    for number in layers:
        parts.layer(number)  # one that is not there is refused before any work
    with progress("statistics") as tell:
        missing = statistics.collect(
            loaded.model,
            loaded.tokenizer,
            layers,
            tell,
            share=int(given[1]),
            shares=int(given[2]),
        )
    folder = statistics.folder(loaded.model)
    kept = {} if missing else {n: folder / f"layer-{n}.safetensors" for n in layers}
    tokens = {n: SecondMoment.load(file).tokens for n, file in kept.items()}
    if json:
        print_json(
            {
                "model": str(model),
                "folder": str(folder),
                "layers": layers,
                "tokens": {str(n): count for n, count in tokens.items()},
                "missing_shares": missing,
            }
        )
        return
    for number, count in tokens.items():
        typer.echo(f"layer {number}: over {count:,} tokens, in {kept[number]}")
    if missing:
        shown = ", ".join(f"{n}/{given[2]}" for n in missing)
        typer.echo(f"share {share} is done; still wanted: {shown}")
