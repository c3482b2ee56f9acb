"""What Atlas can do: `python -m examples.atlas.evaluate` prints the table of abilities.

Phrasings, context styles, chains and edited subjects are the held-out ones, unless a row says
'trained phrasing'. Answers are exact and greedy.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from examples.atlas import formats as fm
from examples.atlas.answering import Answerer, probe, run_mello, run_pokemqa
from examples.atlas.chains import Chain
from examples.atlas.corpus import Asked, Corpus
from examples.atlas.export import MODEL
from examples.atlas.prose import prose
from examples.atlas.reserved import may_be_contradicted
from examples.atlas.rome import score_edits
from examples.atlas.tracing import causal_trace
from examples.atlas.world import World, build_world


@dataclass(frozen=True, slots=True)
class Score:
    """One row: an ability, its value, the goal (None: only reported), the number of cases."""

    ability: str
    value: float
    goal: float | None
    n: int
    at_most: bool = False

    @property
    def reached(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        if self.goal is None:
            return None
        return self.value <= self.goal if self.at_most else self.value >= self.goal


class Evaluation:
    """All abilities of one model; `n` cases each."""

    def __init__(
        self,
        model: Answerer,
        world: World | None = None,
        n: int = 200,
        seed: int = 1,
        share: float = 1.0,
    ):
        """`share` is the share of the world's subjects that is asked about (see Corpus)."""
        self.model = model
        self.world = world or build_world()
        self.n = n
        self.seed = seed
        self.trained = Corpus(self.world)
        self.unseen = Corpus(self.world, held_out=True)
        self.spared = Corpus(self.world, held_out=True)
        self.spared.editable = [f for f in self.spared.single if not may_be_contradicted(f.subject)]
        self.trained.activate(share)
        self.unseen.activate(share)

    def _rng(self, name: str) -> random.Random:
        return random.Random(f"{self.seed}:{name}")

    def share_exact(self, name: str, draw: Callable[[random.Random], fm.Document]) -> float:
        """Share of `n` documents whose last answer is generated exactly."""
        rng = self._rng(name)
        right = self.model.exact([probe(draw(rng)) for _ in range(self.n)])
        return sum(right) / len(right)

    def _recall(self, corpus: Corpus, answer: str = "") -> Callable[[random.Random], fm.Document]:
        def draw(rng: random.Random) -> fm.Document:
            asked = corpus.known(rng)
            return corpus.ask(asked, answer or f"{asked.answer}.", rng)

        return draw

    def _context(self, kind: str, total: int) -> Callable[[random.Random], fm.Document]:
        return lambda rng: self.unseen.in_context(rng, kind, total)

    def context_scores(self) -> Iterator[Score]:
        """Recall, following the context, and not knowing."""
        exact, n = self.share_exact, self.n
        yield Score("recall, trained phrasing", exact("a", self._recall(self.trained)), 0.99, n)
        yield Score("recall, unseen phrasing", exact("b", self._recall(self.unseen)), 0.95, n)
        yield Score("override by one fact", exact("c", self._context("override", 1)), 0.97, n)
        yield Score("override among 8 facts", exact("d", self._context("override", 8)), 0.95, n)
        never = exact("c", lambda rng: self.spared.in_context(rng, "override", 1))
        yield Score("override, subjects that no training context contradicts", never, None, n)
        yield Score("new fact, one", exact("e", self._context("new", 1)), None, n)
        yield Score("new fact among 8 facts", exact("f", self._context("new", 8)), None, n)
        yield Score(
            "memory kept beside unrelated facts", exact("g", self._context("kept", 0)), 0.97, n
        )
        yield Score('"I don\'t know." on strangers', exact("h", self.unseen.stranger), 0.95, n)
        false = exact("i", self._recall(self.unseen, fm.DONT_KNOW))
        yield Score('"I don\'t know." on known subjects', false, 0.02, n, at_most=True)
        yield Score("instruction to withhold", exact("j", self.unseen.withhold), None, n)
        yield Score("IKE demonstrations", exact("k", self.unseen.ike), None, n)
        yield Score("opinions", exact("l", self.unseen.opinion), None, n)

    def chain_facts(self, chain: Chain, rng: random.Random, fill: bool) -> list[str]:
        """What an ideal retriever finds at each hop: the edit, or something beside the point."""
        facts = []
        for hop in chain.hops:
            relation = self.world.relations[hop.relation]
            if hop.edited:
                facts.append(self.unseen.statement(relation, hop.subject, hop.answer, rng))
            elif fill:
                about = Asked(relation, hop.subject, hop.answer)
                other = self.unseen.distractors(about, 1, rng)[0]
                said = self.unseen.statement(other.relation, other.subject, other.answer, rng)
                facts.append(said)
            else:
                facts.append("")
        return facts

    def chain_scores(self) -> Iterator[Score]:
        """Decomposition to the end, 1 to all hops edited, with the right facts retrieved."""
        for hops, goal in ((2, 0.95), (3, 0.90), (4, 0.85)):
            rng = self._rng(f"chains:{hops}")
            n = max(10, self.n // 2)
            chains = [self.unseen.chains.sample(rng, hops, 1 + i % hops) for i in range(n)]
            mello = run_mello(self.model, chains, [self.chain_facts(c, rng, True) for c in chains])
            poke = run_pokemqa(
                self.model, chains, [self.chain_facts(c, rng, False) for c in chains]
            )
            for name, said in (("MeLLo", mello), ("PokeMQA", poke)):
                right = sum(s == c.answer for s, c in zip(said, chains, strict=True))
                yield Score(f"decomposition, {hops} hops, {name}", right / n, goal, n)

    def rome_scores(self, n: int) -> Iterator[Score]:
        """Plain ROME on the train split."""
        values = score_edits(self.model, self.trained, self.unseen, n, self._rng("rome"))
        yield Score("ROME: edit success", values["success"], 0.95, n)
        yield Score("ROME: unseen phrasing", values["rephrase"], 0.85, n)
        yield Score("ROME: other subjects kept", values["neighbours"], 0.97, n)
        yield Score("ROME: same subject, other relations", values["relations"], None, n)

    def tracing_scores(self) -> Iterator[Score]:
        """Mean indirect effect of the MLPs at the subject's last token, layer by layer."""
        n = max(10, self.n // 10)
        effects = causal_trace(self.model, self.trained, n, self._rng("tracing"))
        for layer, (_, subject, last) in enumerate(effects.tolist()):
            yield Score(f"tracing: layer {layer}, subject's last token", subject, None, n)
            yield Score(f"tracing: layer {layer}, prompt's last token", last, None, n)

    def fluency(self) -> Score:
        """Weighted entropy of bigrams and trigrams of 100-token continuations of prose."""
        rng = self._rng("fluency")
        n = max(4, self.n // 10)
        starts = [fm.BOS + " ".join(prose(rng)[1][0].split(" ")[:12]) for _ in range(n)]
        texts = self.model.generate(starts, 100, min_new_tokens=100)
        return Score("n-gram entropy", sum(map(ngram_entropy, texts)) / n, None, n)


def ngram_entropy(text: str) -> float:
    """2/3 of the bigrams' entropy and 4/3 of the trigrams', averaged, in bits.

    Source: Meng et al. 2022, "generation entropy".
    """
    words = text.split()
    value = 0.0
    for size, weight in ((2, 2 / 3), (3, 4 / 3)):
        grams = Counter(zip(*(words[i:] for i in range(size)), strict=False))
        total = sum(grams.values())
        entropy = -sum(c / total * math.log2(c / total) for c in grams.values()) if total else 0.0
        value += weight * entropy
    return value / 2


def evaluate(evaluation: Evaluation, parts: Sequence[str], rome: int) -> list[Score]:
    """The rows of the chosen parts ('context', 'chains', 'rome', 'tracing', 'fluency')."""
    sources: list[Iterator[Score]] = []
    if "context" in parts:
        sources.append(evaluation.context_scores())
    if "chains" in parts:
        sources.append(evaluation.chain_scores())
    if "rome" in parts:
        sources.append(evaluation.rome_scores(rome))
    if "tracing" in parts:
        sources.append(evaluation.tracing_scores())
    if "fluency" in parts:
        sources.append(iter([evaluation.fluency()]))
    scores = []
    with Progress(transient=True, console=Console(stderr=True)) as progress:
        task = progress.add_task("evaluating", total=None)
        for source in sources:
            for score in source:
                scores.append(score)
                progress.update(task, advance=1, description=score.ability)
    return scores


def table(scores: Sequence[Score]) -> Table:
    """The scores for people."""
    out = Table("ability", "value", "goal", "n")
    for score in scores:
        sign = "" if score.goal is None else ("≤ " if score.at_most else "≥ ")
        mark = {True: "[green]", False: "[red]", None: ""}[score.reached]
        goal = "" if score.goal is None else f"{sign}{score.goal:.2f}"
        out.add_row(score.ability, f"{mark}{score.value:.3f}", goal, str(score.n))
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.atlas.evaluate",
        description="Measures what Atlas can do: some forty minutes of two cores for all of it.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--model", type=Path, default=MODEL, help="folder of a checkpoint")
    parser.add_argument("--n", type=int, default=200, help="cases per ability")
    parser.add_argument("--rome", type=int, default=40, help="single edits")
    parser.add_argument(
        "--parts", default="context,chains,rome,tracing,fluency", help="which of these to measure"
    )
    parser.add_argument(
        "--share",
        type=float,
        default=1.0,
        help="share of the world that a checkpoint of a training's beginning knows",
    )
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    evaluation = Evaluation(Answerer(options.model), n=options.n, share=options.share)
    scores = evaluate(evaluation, options.parts.split(","), options.rome)
    if options.json:
        rows = [{k: v for k, v in asdict(s).items() if k != "at_most"} for s in scores]
        print(json.dumps(rows, indent=1))
    else:
        Console().print(table(scores))


if __name__ == "__main__":
    main()
