from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from memedit.config import InContextSettings
from memedit.incontext.base import Demonstrations, Insertion, estimated_tokens
from memedit.incontext.demonstrations import (
    Demonstration,
    DemonstrationStore,
    shipped_demonstrations,
)
from memedit.incontext.ike import Ike, IkeConfig
from memedit.types import Edit, Operation, Surface
from tests.routing.tiny_memory import WordEncoder, edit

OWN = "New Fact: The capital of France is Norwick.\nPrompt: The capital of France is Norwick.\n\n"
BLOCK = re.compile(r"New Fact: (.+)\nPrompt: (.+)\n\n")


def shown(ike: Ike, query: str, *edits: Edit) -> Demonstrations:
    vectors = WordEncoder().encode([query])
    [one] = ike.demonstrations(vectors, [edits or (edit(),)])
    return one


@pytest.fixture
def ike() -> Ike:
    return Ike.open(WordEncoder(), InContextSettings(demonstration_tokens=100_000))


def kind_of(block: str) -> str:
    fact, prompt = BLOCK.fullmatch(block).groups()  # type: ignore[union-attr]
    one = next(one for one in shipped_demonstrations() if one.fact == fact)
    if prompt.startswith(f"{one.prompt} "):
        return "copy"
    if any(prompt == f"{text} {one.answer}." for text in one.rephrases):
        return "update"
    assert any(prompt == f"{kept.prompt} {kept.answer}." for kept in one.retain)
    return "retain"


@pytest.mark.parametrize("surface", list(Surface))
def test_the_very_words_the_reference_model_is_trained_on(surface: Surface) -> None:
    from examples.atlas import formats

    insertion = Ike().compose("q", [edit()], surface)
    assert insertion == Insertion("New Fact: The capital of France is Norwick.\nPrompt: ")
    demonstration = formats.IKE_DEMO.format(
        fact="The capital of France is Norwick.",
        prompt="The capital of France is",
        answer=" Norwick.",
    )
    assert shown(Ike(), "q").texts == (f"{demonstration}\n\n",) == (OWN,)


def test_thirty_two_in_the_ratio_of_the_paper_and_the_edits_own_last(ike: Ike) -> None:
    *others, own = shown(ike, "What is the capital of France?").texts
    assert own == OWN
    assert Counter(map(kind_of, others)) == {"copy": 4, "update": 12, "retain": 16}
    assert len({BLOCK.fullmatch(one)[1] for one in others}) == 32  # type: ignore[index]


@pytest.mark.parametrize("most", [1, 2, 4, 8, 13])
def test_fewer_keep_near_the_ratio(most: int) -> None:
    settings = InContextSettings(max_demonstrations=most, demonstration_tokens=100_000)
    *others, _ = shown(Ike.open(WordEncoder(), settings), "Who painted it?").texts
    kinds = Counter(map(kind_of, others))
    assert sum(kinds.values()) == most
    assert abs(kinds["retain"] - most / 2) <= 1 and abs(kinds["update"] - most * 3 / 8) <= 1


def test_the_nearest_stands_last(ike: Ike) -> None:
    encoder, query = WordEncoder(), "Winter Ferry was painted by"
    *others, _ = shown(ike, query).texts
    facts = [BLOCK.fullmatch(one)[1] for one in others]  # type: ignore[index]
    similarities = (encoder.encode(facts) @ encoder.encode([query])[0]).tolist()
    assert similarities == pytest.approx(sorted(similarities), abs=1e-6)
    assert facts[-1] == "Winter Ferry was painted by Louisa Brandeker."


def test_the_limit_of_tokens_leaves_out_the_farthest_and_says_so() -> None:
    settings = InContextSettings(demonstration_tokens=200)
    some = shown(Ike.open(WordEncoder(), settings), "What is the capital of France?")
    every = shown(
        Ike.open(WordEncoder(), InContextSettings(demonstration_tokens=100_000)),
        "What is the capital of France?",
    )
    assert 0 < len(some) < len(every) == 33
    assert some.texts == every.texts[-len(some) :] and some.left_out == 33 - len(some)
    assert sum(map(estimated_tokens, some.texts)) <= 200
    assert every.left_out == 0


def test_none_at_all_where_none_is_wanted() -> None:
    zero = Ike.open(WordEncoder(), InContextSettings(max_demonstrations=0))
    assert shown(zero, "q") == Demonstrations()
    assert Ike(config=IkeConfig(most=0)).demonstrations(np.zeros((0, 64), np.float32), []) == []


def test_no_demonstration_speaks_of_what_is_edited() -> None:
    about = [
        Demonstration(
            fact="France is ruled from Ost.", prompt="France is ruled from", answer="Ost"
        ),
        Demonstration(
            fact="The capital of Elba is Ost.",
            prompt="The capital of Elba is",
            answer="Ost",
            rephrases=("Which city is Elba's capital?",),
            retain=({"prompt": "France's capital is", "answer": "Paris"},),
        ),
    ]
    store = DemonstrationStore.build(about, WordEncoder())
    blocks = shown(Ike(store), "capital of France").texts
    assert len(blocks) == 2, "no retain: its neighbour is the edited fact itself"
    assert "Elba" in blocks[0] and blocks[1] == OWN
    other = shown(Ike(store), "capital", edit("x is", "y", subject="x", aliases=("Elba",))).texts
    assert "Elba" not in "".join(other) and "France is ruled from" in other[0]


def test_several_edits_and_what_an_erased_fact_shows() -> None:
    several = [
        edit(),
        edit("Who rules Italy?", "an\nowl", subject="Italy"),
        edit("Who owns the moon?", "-", subject="moon", operation=Operation.ERASE),
        edit("the capital of France is"),
    ]
    assert Ike().compose("q", several, Surface.CHAT).before == (
        "New Fact: The capital of France is Norwick.\n"
        'New Fact: The answer to "Who rules Italy?" is an owl.\n'
        'New Fact: The answer to "Who owns the moon?" is withheld: reply "I don\'t know".\n'
        "Prompt: "
    )
    assert shown(Ike(), "q", *several).texts == (
        OWN,
        'New Fact: The answer to "Who rules Italy?" is an owl.\n'
        "Prompt: Who rules Italy? an owl.\n\n",
    )


def test_a_batch_is_each_of_its_queries(ike: Ike) -> None:
    queries = ["Who wrote the poem?", "the currency", "a mountain"]
    edits = [[edit()], [edit("x is", "y", subject="x")], [edit(), edit("Italy is", "z")]]
    together = ike.demonstrations(WordEncoder().encode(queries), edits)
    apart = [
        ike.demonstrations(WordEncoder().encode([query]), [theirs])[0]
        for query, theirs in zip(queries, edits, strict=True)
    ]
    assert (
        together == apart and ike.demonstrations(WordEncoder().encode(queries), edits) == together
    )


def test_the_estimate_is_never_too_low_for_the_reference_models_tokenizer(ike: Ike) -> None:
    from tokenizers import Tokenizer

    folder = Path(__file__).resolve().parents[2] / "examples" / "atlas" / "model"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for query in ("What is the capital of France?", "Who wrote it?", "When was it opened?"):
        texts = shown(ike, query).texts
        for last in (3, len(texts)):
            some = texts[-last:]
            estimate = sum(map(estimated_tokens, some))
            assert len(tokenizer.encode("".join(some)).ids) <= estimate
