"""An agent's answers to multi-hop questions, by hops: `python -m examples.agent_hops --url URL`.

All edits of the file are in memory; the questions go to the model behind an OpenAI-compatible
server, which takes them apart. Right is an answer that is one of the case's, word for word. A case
is contradicted where another case's edit says something else of one of its hops: with all edits in
memory both cannot be right, so what remains without such cases is counted apart.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from memedit.agent import AGENTS, MultiHopAgent, Trace
from memedit.config import Settings
from memedit.evaluation.bootstrap import wilson
from memedit.evaluation.chains import GoldChain, read_chains
from memedit.evaluation.matching import exact
from memedit.memory.records import NewEdit
from memedit.types import DEFAULT_NAMESPACE, EditRequest
from memedit.wiring import open_memory

FILE = Path(__file__).parent / "atlas" / "data" / "atlasedit" / "multihop_test.json"


def contradicted(chain: GoldChain, edits: Sequence[EditRequest]) -> bool:
    """Whether an edit says something else of one of the chain's hops.

    It does where its subject stands in the hop's question, its old answer is what the hop says
    without that edit (or what the chain's own edit of it replaces), and its new one is not what
    the hop says.
    """
    own = {(one.subject, one.ground_truth) for one in chain.requests}
    for hop in chain.hops:
        for edit in edits:
            same = (edit.subject, edit.ground_truth) in own or exact(edit.ground_truth, hop.answers)
            if (
                edit.subject in hop.question
                and same
                and not exact(edit.target_new, hop.answers)
                and not any(edit == one for one in chain.requests)
            ):
                return True
    return False


def edits_of(chains: Sequence[GoldChain]) -> list[EditRequest]:
    """The chains' edits, each once."""
    return list(
        {(e.prompt, e.subject, e.target_new): e for c in chains for e in c.requests}.values()
    )


def spread(chains: Sequence[GoldChain], limit: int | None) -> list[GoldChain]:
    """At most `limit` chains of every number of hops, spread over the file."""
    kept: list[GoldChain] = []
    for hops in sorted({len(chain.hops) for chain in chains}):
        those = [chain for chain in chains if len(chain.hops) == hops]
        step = max(1, len(those) // limit) if limit else 1
        kept += those[::step][:limit]
    return kept


def ask(
    chains: Sequence[GoldChain],
    edits: Sequence[EditRequest],
    method: str,
    url: str,
    settings: Settings,
) -> list[Trace]:
    """The traces of the chains' questions, with all `edits` in memory."""
    agent_method = AGENTS.get(method)(demonstrations="", max_hops=5 if method == "pokemqa" else 4)
    with open_memory("sqlite://", settings) as memory:
        new = [NewEdit(one, DEFAULT_NAMESPACE, None, None, None) for one in edits]
        memory.add_edits(new, on_duplicate="return")
        agent = MultiHopAgent.open(
            memory, settings=settings, upstream=url, max_tokens=48, method=agent_method
        )
        return asyncio.run(agent.ask_many([chain.question for chain in chains]))


def counted(rows: Sequence[tuple[GoldChain, Trace, bool]]) -> list[dict[str, Any]]:
    """By hops, all cases and the sound ones: how many are right, and how the others ended."""
    found = []
    for hops in sorted({len(chain.hops) for chain, _, _ in rows}):
        for name in ("all", "sound"):
            those = [
                row for row in rows if len(row[0].hops) == hops and (name == "all" or not row[2])
            ]
            right = [exact(trace.answer or "", chain.answers) for chain, trace, _ in those]
            ends = Counter(
                str(t.ended) for (_, t, _), ok in zip(those, right, strict=True) if not ok
            )
            low, high = wilson(sum(right), len(those)) if those else (0.0, 1.0)
            share = round(sum(right) / len(those), 4) if those else None
            found.append(
                {"hops": hops, "cases": name, "n": len(those), "right": share,
                 "low": round(low, 4), "high": round(high, 4), "others": dict(ends)}
            )  # fmt: skip
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, nargs="?", default=FILE, help="cases in MQuAKE's format")
    parser.add_argument("--url", required=True, help="an OpenAI-compatible server with the model")
    parser.add_argument("--method", default="pokemqa", help="pokemqa or mello")
    parser.add_argument("--limit", type=int, help="cases of each number of hops")
    parser.add_argument(
        "--sound", action="store_true", help="ask only what no other case's edit contradicts"
    )
    parser.add_argument("--shown", type=int, default=10, help="wrong answers that the table shows")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    chains = read_chains(given.file)
    edits = edits_of(chains)
    sound = [chain for chain in chains if not (given.sound and contradicted(chain, edits))]
    asked = spread(sound, given.limit)
    traces = ask(asked, edits, given.method, given.url, Settings.read())
    rows = [(c, t, contradicted(c, edits)) for c, t in zip(asked, traces, strict=True)]
    found = counted(rows)
    wrong = [
        {"question": c.question, "expected": c.answers, "answer": t.answer,
         "ended": str(t.ended), "error": t.error, "contradicted": bad,
         "hops": [[h.subquestion, h.answer] for h in t.hops]}
        for c, t, bad in rows if not exact(t.answer or "", c.answers)
    ]  # fmt: skip
    if given.json:
        print(json.dumps({"file": given.file.name, "method": given.method, "edits": len(edits),
                          "rows": found, "wrong": wrong}, ensure_ascii=False))  # fmt: skip
        return
    table = Table("hops", "cases", "n", "right", "95%",
                  title=f"{given.method}, {len(edits):,} edits in memory")  # fmt: skip
    for row in found:
        share = "" if row["right"] is None else f"{row['right']:.3f}"
        table.add_row(str(row["hops"]), row["cases"], str(row["n"]), share,
                      f"{row['low']:.2f}-{row['high']:.2f}")  # fmt: skip
    console = Console(width=160)
    console.print(table)
    for one in wrong[: given.shown]:
        line = f"{one['question']} {one['hops']} -> {one['answer']}, expected {one['expected']}"
        console.print(line, markup=False, highlight=False)


if __name__ == "__main__":
    main()
