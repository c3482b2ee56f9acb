"""A trace for people: a tree of hops on the terminal."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text
from rich.tree import Tree

from memedit.agent.trace import Hop, Source, Trace

_SHOWN_CANDIDATES = 3
_SOURCES = {
    Source.EDIT: "read off the edit",
    Source.MODEL_WITH_EDIT: "by the model, from the edit",
    Source.MODEL: "by the model",
    None: "nobody said so",
}


def rendered(trace: Trace) -> RenderableType:
    """Return the question with a branch per hop, and the answer or why there is none.

    What models and edits say is text, never markup.
    """
    tree = Tree(Text(trace.question, style="bold"))
    if trace.entity is not None:
        tree.add(Text(f"starts from: {trace.entity}", style="dim"))
    for number, hop in enumerate(trace.hops, start=1):
        _add_hop(tree.add(Text(f"{number}. {hop.subquestion}")), hop)
    if trace.answer is not None:
        tree.add(Text(f"{trace.ended.value}: {trace.answer}", style="bold green"))
    else:
        tree.add(Text(f"no answer ({trace.ended.value}): {trace.error}", style="bold red"))
    usage = trace.usage
    cost = f"{usage.calls} calls, {usage.prompt_tokens} prompt tokens"
    cached = f" ({usage.cached_tokens} cached)" if usage.cached_tokens else ""
    tree.add(Text(f"{trace.method}, {trace.model}: {cost}{cached}", style="dim"))
    return tree


def _add_hop(branch: Tree, hop: Hop) -> None:
    for one in hop.candidates[:_SHOWN_CANDIDATES]:
        said = f"{one.probability:.3f} {one.label.value}: {one.candidate.edit.statement}"
        branch.add(Text(said, style="" if one.candidate.edit.ref == hop.edit else "dim"))
    for left in hop.left_out:
        branch.add(Text(f"{left.edit} left out for {left.by}: {left.why.value}", style="dim"))
    if hop.fact is not None:
        branch.add(Text(f"fact ({hop.edit}, {hop.scope.value}): {hop.fact}", style="cyan"))
    if hop.generated is not None:
        branch.add(Text(f"the model's own answer: {hop.generated}"))
    if hop.conflict is not None:
        branch.add(Text("the fact contradicts it" if hop.conflict else "no contradiction"))
    if hop.answer is not None:
        branch.add(Text(f"answer, {_SOURCES[hop.source]}: {hop.answer}", style="bold"))
    if hop.note is not None:
        branch.add(Text(hop.note, style="yellow"))
