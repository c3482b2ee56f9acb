"""``memedit replay``: what retrieval and scope do to multi-hop questions, without a model."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memedit.cli import options as opt
from memedit.cli.output import print_json, print_table, progress

if TYPE_CHECKING:
    from memedit.agent import Trace
    from memedit.config import Settings
    from memedit.evaluation.chains import ChainScore, GoldChain
    from memedit.memory import EditMemory
    from memedit.types import Edit


class Together(StrEnum):
    """Which edits are in force when a question is asked."""

    ALL = "all"
    SINGLE = "single"


def replay(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="Cases in MQuAKE's format.")
    ],
    method: Annotated[str, typer.Option(help="mello or pokemqa.")] = "pokemqa",
    setting: Annotated[
        Together, typer.Option(help="All edits at once, or each case's by themselves.")
    ] = Together.ALL,
    rephrases: Annotated[
        bool,
        typer.Option(
            "--rephrases/--no-rephrases",
            help="Store the question of an edit with it, as import does; without, only its cloze.",
        ),
    ] = True,
    limit: Annotated[int | None, typer.Option(min=1, help="Cases, spread over the file.")] = None,
    wrong: Annotated[int, typer.Option(min=0, help="Wrong chains that are shown.")] = 10,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Play gold decompositions to an agent, and count the chains that come out right.

    The script asks the right subquestions, judges perfectly and knows every unedited fact: what
    goes wrong is the memory's retrieval and the scope classifier. Corrupted cases (an edit of
    another case contradicts one of their hops) are counted apart, and listed with --json.

    Example: memedit replay mquake.json --method pokemqa --limit 300
    """
    from memedit.config import Settings
    from memedit.evaluation.chains import read_chains

    chains = read_chains(file)
    asked = chains if limit is None else chains[:: max(1, len(chains) // limit)][:limit]
    settings = Settings.read(config)
    single = setting is Together.SINGLE
    scores = replay_chains(chains, asked, method, settings, single=single, rephrases=rephrases)
    sound = [one for one in scores if single or not one.chain.conflicts]
    if json:
        print_json(
            {
                "file": file.name,
                "method": method,
                "setting": setting.value,
                "rephrases": rephrases,
                "classifier": settings.scope.classifier,
                "all": _counted(scores),
                "sound": _counted(sound),
                "corrupted": [_corrupted(one.chain) for one in scores if one.chain.conflicts],
                "wrong": [_wrong(one) for one in scores if one.outcome.value != "right"],
            }
        )
        return
    _print(scores, sound, wrong)


def replay_chains(
    chains: Sequence[GoldChain],
    asked: Sequence[GoldChain],
    method: str,
    settings: Settings,
    *,
    single: bool,
    rephrases: bool,
) -> list[ChainScore]:
    """Put the edits of ``chains`` into a memory of their own, and replay ``asked`` in lockstep."""
    from memedit.agent import AGENTS, Endpoint, Lookup, run_together
    from memedit.agent.decomposing import Decomposing
    from memedit.agent.replay import ReplayedModel, ScriptedHop
    from memedit.evaluation.chains import score_chain
    from memedit.wiring import open_memory, open_router

    kind = AGENTS.get(method)
    if not issubclass(kind, Decomposing):
        raise typer.BadParameter(
            f"got {method!r}, which has no model take questions apart; expected mello or pokemqa",
            param_hint="--method",
        )
    agent = kind(demonstrations="", max_hops=max(len(one.hops) for one in chains))
    with open_memory("sqlite://", settings) as memory:
        with progress("encoding edits") as bar:
            edits = _store(memory, chains, single=single, rephrases=rephrases, progress=bar)
        model = ReplayedModel(
            {
                chain.id: [ScriptedHop(hop.question, hop.own) for hop in chain.hops]
                for chain in asked
            },
            _judge(edits, asked),
        )
        plans = [
            agent.answer(
                chain.question, Endpoint(chain.id), Lookup((_space(chain, single=single),))
            )
            for chain in asked
        ]
        router = open_router(memory, settings)
        with progress("replaying") as bar:
            traces = run_together(plans, router, model.complete, progress=bar)
    return [
        score_chain(chain, _hops(trace), trace.answer)
        for chain, trace in zip(asked, traces, strict=True)
    ]


def _store(
    memory: EditMemory,
    chains: Sequence[GoldChain],
    *,
    single: bool,
    rephrases: bool,
    progress: Any,
) -> list[tuple[Edit, frozenset[str]]]:
    """Store every edit once; return each with the forms in which its fact is asked for."""
    from memedit.evaluation.matching import normalised
    from memedit.memory.records import NewEdit

    new, forms = [], []
    for chain in chains:
        for request in chain.requests:
            kept = request if rephrases else request.model_copy(update={"rephrases": ()})
            new.append(NewEdit(kept, _space(chain, single=single), None, None, None))
            forms.append(frozenset(map(normalised, (request.prompt, *request.rephrases))))
    stored = memory.add_edits(new, on_duplicate="return", progress=progress)
    return list(zip(stored, forms, strict=True))


def _space(chain: GoldChain, *, single: bool) -> str:
    return f"case-{chain.id}" if single else "all"


def _judge(edits: Sequence[tuple[Edit, frozenset[str]]], asked: Sequence[GoldChain]) -> Any:
    """Make the perfect judge: it knows which facts answer which subquestions."""
    from memedit.evaluation.matching import normalised
    from memedit.incontext.fact import sentence

    facts = {normalised(sentence(edit)): (edit.request.target_new, forms) for edit, forms in edits}
    hops = {hop.question: hop.forms for chain in asked for hop in chain.hops}

    def answer_in(fact: str, hop: Any) -> str | None:
        target, forms = facts.get(normalised(fact), (None, frozenset()))
        return target if forms & hops[hop.subquestion] else None

    return answer_in


def _hops(trace: Trace) -> list[tuple[str | None, bool]]:
    from memedit.agent import Source

    told = (Source.EDIT, Source.MODEL_WITH_EDIT)
    return [(hop.answer, hop.source in told) for hop in trace.hops]


def _counted(scores: Sequence[ChainScore]) -> list[dict[str, Any]]:
    from memedit.evaluation.chains import count_chains

    return [
        {
            "hops": one.hops,
            "n": one.n,
            "right": None if one.right is None else round(one.right, 4),
            "outcomes": {name.value: count for name, count in sorted(one.outcomes.items())},
        }
        for one in count_chains(scores)
    ]


def _corrupted(chain: GoldChain) -> dict[str, Any]:
    return {
        "case": chain.id,
        "conflicts": [
            {
                "hop": one.hop + 1,
                "question": one.question,
                "expected": one.expected,
                "edited_to": one.target,
                "by_case": one.case,
            }
            for one in chain.conflicts
        ],
    }


def _wrong(score: ChainScore) -> dict[str, Any]:
    hops = score.chain.hops
    hop = hops[score.hop] if score.hop is not None and score.hop < len(hops) else None
    return {
        "case": score.chain.id,
        "outcome": score.outcome.value,
        "hop": None if score.hop is None else score.hop + 1,
        "question": hop.question if hop else score.chain.question,
        "expected": (hop.answers if hop else score.chain.answers)[0],
        "answer": score.answer,
        "corrupted": bool(score.chain.conflicts),
    }


def _print(scores: Sequence[ChainScore], sound: Sequence[ChainScore], wrong: int) -> None:
    kinds = ("right", "missed", "wrong_edit", "false_alarm", "broken_off")
    rows = []
    for name, those in (("all", scores), ("without corrupted", sound)):
        for row in _counted(those):
            outcomes = [str(row["outcomes"].get(kind, 0)) for kind in kinds]
            share = "" if row["right"] is None else f"{row['right']:.4f}"
            rows.append([name, str(row["hops"] or "all"), str(row["n"]), share, *outcomes])
    print_table(("cases", "hops", "n", "share right", *kinds), rows)
    mistakes = [_wrong(one) for one in sound if one.outcome.value != "right"][:wrong]
    if mistakes:
        columns = ("case", "hop", "outcome", "question", "expected", "answer")
        cells = [[str(row[column] or "") for column in columns] for row in mistakes]
        print_table(columns, cells, title="first wrong chains")
