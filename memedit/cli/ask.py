"""Commands on prompts: route (what would be done, and why) and ask (the answer itself)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memedit.cli import options as opt
from memedit.cli.output import print_json, print_json_array, print_table
from memedit.cli.prompt_files import Prompt, read_prompts
from memedit.cli.store import open_store
from memedit.types import ScopeLabel

if TYPE_CHECKING:
    from memedit.client.replies import RouteReport

BATCH = 64


def route(
    prompts: Annotated[list[str] | None, typer.Argument(help="Prompts to route.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help='JSONL with {"prompt": ...} or {"messages": [...]}, or plain lines.',
        ),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Else the classifier's own.")
    ] = None,
    namespace: opt.Namespaces = None,
    memory: opt.MemoryUrl = None,
    url: opt.ProxyUrl = None,
    key: opt.Key = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Say for each prompt what would be done with it, and why; no model is asked.

    With --json an array with one object per prompt, each on a line of its own: prompt, scope,
    edits, probabilities, action, and everything that was considered.

    Example: memedit route --file prompts.jsonl --json
    """
    asked: list[Prompt] = [*(prompts or ()), *(read_prompts(file) if file else ())]
    if not asked:
        missing = "give prompts, or a --file of them." if file is None else f"{file} holds none."
        raise typer.BadParameter(missing, param_hint="PROMPTS")
    lines: list[dict[str, Any]] = []
    with open_store(memory, url, key, config, create=False) as store:
        for start in range(0, len(asked), BATCH):
            batch = asked[start : start + BATCH]
            reports = store.route(batch, namespaces=namespace, threshold=threshold)
            lines += map(summary, batch, reports)
    if json:
        print_json_array(lines)
    else:
        print_table(("action", "scope", "p", "edits", "reason", "prompt"), map(_row, lines))


def summary(prompt: Prompt, report: RouteReport) -> dict[str, Any]:
    """Return one prompt's route: the nearest edit's scope and probabilities first, then all."""
    best = report.considered[0] if report.considered else None
    nothing = {"direct": 0.0, "dependent": 0.0, "unrelated": 1.0}
    whole = report.model_dump(mode="json")
    return {
        "prompt": prompt,
        "scope": best.scope.value if best else ScopeLabel.UNRELATED.value,
        "edits": whole.pop("edits"),
        "probabilities": best.probabilities.model_dump() if best else nothing,
        "action": whole.pop("action"),
        **whole,
    }


def _row(line: dict[str, Any]) -> list[str]:
    prompt = line["prompt"]
    probability = 1.0 - line["probabilities"]["unrelated"]
    return [
        " ".join(filter(None, (line["action"], line["adapter"]))),
        line["scope"],
        f"{probability:.3f}",
        ", ".join(line["edits"]),
        f"{line['reason']} ({line['note']})" if line["note"] else line["reason"],
        prompt if isinstance(prompt, str) else str(prompt[-1].get("content", "")),
    ]


def ask(
    question: Annotated[str, typer.Argument(help="What to ask the model.")],
    model: Annotated[str | None, typer.Option(help="Else the first that the server lists.")] = None,
    upstream: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The model's server, when no proxy is asked."),
    ] = None,
    completion: Annotated[
        bool, typer.Option("--completion", help="Continue the text instead of chatting.")
    ] = False,
    bypass: Annotated[bool, typer.Option("--bypass", help="Leave all edits out.")] = False,
    max_tokens: Annotated[int, typer.Option(min=1, help="Length of the answer.")] = 64,
    namespace: opt.Namespaces = None,
    memory: opt.MemoryUrl = None,
    url: opt.ProxyUrl = None,
    key: Annotated[
        str | None,
        typer.Option("--key", envvar="MEMEDIT_INFERENCE_KEY", help="Key of the model API."),
    ] = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Ask the model a question, and show the route that it took beside the answer.

    Through the proxy at --url; without one straight to the --upstream, with the edits of --memory.

    Example: memedit ask "What is the capital of Quendoria?" --url http://127.0.0.1:8100
    """
    from memedit.cli.question import Question, put, sender

    asked = Question(
        question,
        model=model,
        completion=completion,
        bypass=bypass,
        max_tokens=max_tokens,
        namespaces=tuple(namespace or ()),
    )
    with sender(url, upstream, memory, key, config) as http:
        answer = put(http, asked)
    if json:
        print_json({"question": question, "answer": answer.text, **answer.route})
        return
    typer.echo(answer.text)
    shown = ", ".join(f"{name} {value}" for name, value in answer.route.items() if value)
    typer.echo(f"[{shown}]", err=True)
