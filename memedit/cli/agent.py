"""``memedit agent``: questions that lean on several facts, answered hop by hop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memedit.cli import options as opt
from memedit.cli.output import console, print_json_array
from memedit.errors import InvalidInputError

if TYPE_CHECKING:
    from memedit.agent import Trace


def agent(
    questions: Annotated[list[str] | None, typer.Argument(help="Questions to answer.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help='JSONL with {"prompt": ...}, or plain lines.'
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="pokemqa: the scope classifier decides whether an edit answers a hop. "
            "mello: the model judges the nearest edit. Else the settings'."
        ),
    ] = None,
    upstream: Annotated[
        str | None, typer.Option(metavar="URL", help="The model's server; else the settings'.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Else the first that the server lists.")] = None,
    demonstrations: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|none",
            help="Worked questions of your own instead of the shipped ones; none for a model that "
            "was trained on transcripts.",
        ),
    ] = None,
    hops: Annotated[
        int | None, typer.Option(min=1, help="Most subquestions; else 4, with pokemqa 5.")
    ] = None,
    chat: Annotated[
        bool, typer.Option("--chat", help="Ask a chat model instead of continuing plain text.")
    ] = False,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Of one call; else the settings'.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Questions under way at once.")] = 16,
    threshold: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Else the classifier's own.")
    ] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Show every hop.")] = False,
    namespace: opt.Namespaces = None,
    memory: opt.MemoryUrl = None,
    key: Annotated[
        str | None,
        typer.Option("--key", envvar="MEMEDIT_INFERENCE_KEY", help="Key of the model's server."),
    ] = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Answer questions hop by hop: each subquestion is looked up among the edits of the memory.

    A question without an answer says why, and makes the exit code 1. With --json an array with
    one object per question, its whole trace included.

    Example: memedit agent "Who leads the country of the Iron Bridge?" --memory sqlite:///edits.db
    """
    import anyio

    from memedit.agent import Lookup, MultiHopAgent
    from memedit.agent.rendering import rendered
    from memedit.config import Settings
    from memedit.types import Surface
    from memedit.wiring import open_agent_method

    asked = [*(questions or ()), *(_read_questions(file) if file else ())]
    if not asked:
        raise typer.BadParameter("give questions, or a --file of them.", param_hint="QUESTIONS")
    flags: dict[str, dict[str, Any]] = {
        "memory": {"url": memory},
        "serve": {"upstream": upstream},
        "agent": {
            "method": method,
            "demonstrations": demonstrations,
            "max_hops": hops,
            "max_tokens": max_tokens,
            "chat": chat or None,
        },
    }
    settings = Settings.read(config, flags)
    spaces = tuple(namespace or (settings.memory.namespace,))
    own_key = {"api_key": key} if key else {}
    with MultiHopAgent.open(
        settings=settings,
        method=open_agent_method(settings.agent),
        model=model,
        surface=Surface.CHAT if settings.agent.chat else Surface.COMPLETION,
        max_tokens=settings.agent.max_tokens,
        concurrency=concurrency,
        lookup=Lookup(spaces, threshold),
        **own_key,
    ) as opened:
        traces: list[Trace] = anyio.run(opened.ask_many, asked)
    if json:
        print_json_array([one.to_dict() for one in traces])
    elif trace:
        console().print(*map(rendered, traces), sep="\n")
    else:
        for one in traces:
            typer.echo(one.answer if one.answer is not None else f"no answer: {one.error}")
            shown = ", ".join(filter(None, (one.ended.value, f"{len(one.hops)} hops", *one.edits)))
            typer.echo(f"[{shown}]", err=True)
    if any(one.answer is None for one in traces):
        raise typer.Exit(1)


def _read_questions(file: Path) -> list[str]:
    from memedit.cli.prompt_files import read_prompts

    questions = []
    for prompt in read_prompts(file):
        if not isinstance(prompt, str):
            raise InvalidInputError(f"{file}: the agent takes questions, not conversations")
        questions.append(prompt)
    return questions
