"""The hot path against a brute-force search over all texts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memedit.errors import InvalidInputError
from memedit.memory import EditMemory, NewEdit
from memedit.memory.texts import texts_of
from memedit.types import Candidate, Edit, EditRequest
from tests.memory.hashing_encoder import HashingEncoder

NOW = datetime(2030, 1, 1, tzinfo=UTC)
WORDS = ["amber", "basalt", "cobalt", "dune", "ember", "fjord", "glade", "heath", "inlet", "kelp"]


def make_request(draw: np.random.Generator) -> EditRequest:
    def text() -> str:
        return " ".join(draw.choice(WORDS, size=4))

    subject = str(draw.choice(WORDS))
    return EditRequest(
        prompt=f"{text()} {subject} {text()}",
        subject=subject,
        target_new=str(draw.choice(WORDS)),
        rephrases=tuple(text() for _ in range(draw.integers(0, 12))),
        aliases=tuple(text() for _ in range(draw.integers(0, 4))),
    )


def brute_force(
    edits: list[Edit], encoder: HashingEncoder, query: np.ndarray, names: tuple[str, ...], k: int
) -> list[float]:
    best = sorted(
        (
            float(max(encoder.encode([text.text for text in texts_of(edit.request)]) @ query))
            for edit in edits
            if edit.namespace in names and edit.is_valid_at(NOW)
        ),
        reverse=True,
    )
    return best[:k]


def assert_candidates(
    found: tuple[Candidate, ...],
    edits: list[Edit],
    encoder: HashingEncoder,
    query: np.ndarray,
    names: tuple[str, ...],
    k: int,
) -> None:
    assert len({hit.edit.id for hit in found}) == len(found)
    similarities = [hit.similarity for hit in found]
    assert np.allclose(similarities, brute_force(edits, encoder, query, names, k), atol=1e-5)
    for hit in found:
        assert hit.edit.namespace in names and hit.edit.is_valid_at(NOW)
        assert hit.matched in [text.text for text in texts_of(hit.edit.request)]
        again = float(encoder.encode([hit.matched])[0] @ query)
        assert again == pytest.approx(hit.similarity, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**20), n=st.integers(0, 60), k=st.integers(1, 12))
def test_candidates_agree_with_brute_force(seed: int, n: int, k: int) -> None:
    draw = np.random.default_rng(seed)
    encoder = HashingEncoder()
    periods = [(None, None), (NOW, None), (NOW + timedelta(1), None), (None, NOW)]
    with EditMemory.open("sqlite://", encoder) as memory:
        new = []
        for _ in range(n):
            start, stop = periods[draw.choice(4, p=[0.5, 0.1, 0.2, 0.2])]
            namespace = str(draw.choice(["a", "b", "c"]))
            new.append(NewEdit(make_request(draw), namespace, valid_from=start, valid_to=stop))
        edits = memory.add_edits(new)
        for edit in draw.permutation(np.array([e.id for e in edits], dtype=object))[: n // 4]:
            memory.retract(edit)
        live = memory.list(limit=1_000)
        asked = [("a",), ("b", "a"), ("nobody",), ("c", "a", "b"), ()]
        queries = encoder.encode([" ".join(draw.choice(WORDS, size=5)) for _ in asked])
        batch = memory.candidates(queries, asked, k, NOW)
        for found, query, names in zip(batch, queries, asked, strict=True):
            assert_candidates(found, live, encoder, query, names, k)


def test_of_equally_similar_edits_those_written_last_are_kept(
    scratch: EditMemory, encoder: HashingEncoder
) -> None:
    prompt = "alpha beta gamma"
    edits = [
        scratch.add([EditRequest(prompt=prompt, subject="beta", target_new=f"t{i}")])[0]
        for i in range(6)
    ]
    scratch.retract(edits[0].id)  # whose place in the index the last one takes
    [found] = scratch.candidates(encoder.encode([prompt]), [("default",)], 2, NOW)
    assert [hit.edit.id for hit in found] == [edits[5].id, edits[4].id]


def test_many_texts_of_near_edits_do_not_crowd_out_others(encoder: HashingEncoder) -> None:
    with EditMemory.open("sqlite://", encoder) as memory:
        crowd = [
            EditRequest(
                prompt=f"The river of {name} is",
                subject=name,
                target_new="Lume",
                rephrases=tuple(f"The river of {name} is {n}" for n in range(64)),
            )
            for name in ("Arda", "Bree", "Corin")
        ]
        far = [
            EditRequest(prompt=f"Who painted work{n}?", subject=f"work{n}", target_new="Ansa")
            for n in range(4)
        ]
        memory.add(crowd + far)
        found = memory.search("The river of Arda is", k=6)
        assert len(found) == 6
        assert {hit.edit.request.subject for hit in found[:3]} == {"Arda", "Bree", "Corin"}


def test_near_edits_that_are_not_valid_do_not_crowd_out_others(encoder: HashingEncoder) -> None:
    with EditMemory.open("sqlite://", encoder) as memory:
        past = EditRequest(prompt="The river of Arda is", subject="Arda", target_new="Lume")
        memory.add([past] * 300, valid_to=NOW - timedelta(1))
        [kept] = memory.add([past.model_copy(update={"prompt": "Something else entirely"})])
        found = memory.candidates(encoder.encode([past.prompt]), [["default"]], 3, NOW)
        assert [hit.edit for hit in found[0]] == [kept]


def test_edits_whose_subject_stands_in_the_text_come_beside_the_nearest(
    encoder: HashingEncoder,
) -> None:
    with EditMemory.open("sqlite://", encoder) as memory:
        crowd = [
            EditRequest(prompt=f"capital of the land {n}", subject=f"land {n}", target_new="x")
            for n in range(40)
        ]
        asked = EditRequest(
            prompt="Who leads Zéphyria?", subject="Zéphyria", target_new="Ansa", aliases=("Zeph",)
        )
        later = asked.model_copy(update={"prompt": "Who founded Zéphyria?"})
        *_, own, gone = memory.add([*crowd, asked, later])
        text = "capital of the land that zephyrias ruler is from"
        for query in (text, text.replace("zephyrias", "ZEPH")):
            vectors = encoder.encode([query])
            nearest = memory.candidates(vectors, [["default"]], 2, NOW)[0]
            assert own not in [hit.edit for hit in nearest]
            found = memory.candidates(vectors, [["default"]], 2, NOW, texts=[query])[0]
            assert [hit.edit for hit in found if not hit.named] == [hit.edit for hit in nearest]
            assert {hit.edit.id for hit in found if hit.named} == {own.id, gone.id}
            assert list(found) == sorted(found, key=lambda hit: -hit.similarity)
        memory.retract(gone.id)
        found = memory.candidates(vectors, [["default"]], 2, NOW, texts=[query])[0]
        assert [hit.edit.id for hit in found if hit.named] == [own.id]
        elsewhere = memory.candidates(vectors, [["other"]], 2, NOW, texts=[query])[0]
        assert elsewhere == ()


def test_refused_calls(scratch: EditMemory, encoder: HashingEncoder) -> None:
    scratch.add([EditRequest(prompt="a", subject="a", target_new="b")])
    vectors = encoder.encode(["x", "y"])
    with pytest.raises(InvalidInputError):
        scratch.candidates(vectors, [["default"]], 1, NOW)
    with pytest.raises(InvalidInputError):
        scratch.candidates(vectors, [["default"]] * 2, 0, NOW)
    with pytest.raises(InvalidInputError):
        scratch.candidates(vectors[:, :5], [["default"]] * 2, 1, NOW)
    with pytest.raises(InvalidInputError):
        scratch.candidates(vectors, [["default"]] * 2, 1, NOW, texts=["x"])
    assert scratch.candidates(vectors[:0], [], 1, NOW) == []


def test_similarity_never_leaves_its_range(scratch: EditMemory) -> None:
    text = "a b c d e f g"
    scratch.add([EditRequest(prompt=text, subject="a", target_new="h")])
    assert scratch.search(text)[0].similarity <= 1.0
