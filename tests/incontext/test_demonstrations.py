"""The store of demonstrations: reading, writing, finding, and the shipped set itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from memedit.errors import DatasetError, InvalidInputError, MissingResourceError
from memedit.incontext.base import Demonstrations, Insertion, estimated_tokens
from memedit.incontext.demonstrations import (
    FILE,
    Answered,
    Demonstration,
    DemonstrationStore,
    as_words,
    read_demonstrations,
    shipped_demonstrations,
    with_neighbours,
)
from tests.routing.tiny_memory import WordEncoder


def facts(*subjects: str) -> list[Demonstration]:
    return [
        Demonstration(
            fact=f"The capital of {one} is Ost.", prompt=f"The capital of {one} is", answer="Ost"
        )
        for one in subjects
    ]


def test_what_is_shipped_is_whole() -> None:
    shipped = shipped_demonstrations()
    assert len(shipped) >= 48, "all three kinds of 32 are chosen among them"
    said = [
        text
        for one in shipped
        for text in (one.fact, one.prompt, *one.rephrases, *(kept.prompt for kept in one.retain))
    ]
    assert len(set(said)) == len(said)
    for one in shipped:
        assert one.fact.endswith(".") and one.answer.casefold() in one.fact.casefold()
        assert len(one.rephrases) == len(one.retain) == 2
        assert one.answer not in [kept.answer for kept in one.retain]


def test_nothing_of_it_is_in_the_reference_benchmark() -> None:
    folder = Path(__file__).resolve().parents[2] / "examples" / "atlas" / "data" / "atlasedit"
    prompts = {
        text.casefold()
        for file in folder.glob("*.json")
        for text in _texts(json.loads(file.read_text(encoding="utf-8")))
    }
    assert prompts
    for one in shipped_demonstrations():
        assert not {one.fact.casefold(), one.prompt.casefold()} & prompts
        assert not {text.casefold() for text in one.rephrases} & prompts


def _texts(value: object) -> Sequence[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for one in inner for text in _texts(one)]


def test_the_nearest_are_those_of_brute_force() -> None:
    encoder = WordEncoder()
    store = DemonstrationStore.build(facts("Aland", "Borneo", "Cuba", "Delos"), encoder)
    queries = encoder.encode(["capital of Cuba", "Delos"])
    for query, row in zip(queries, store.nearest(queries, 3), strict=True):
        every = np.sort(encoder.encode([one.said.fact for one in store.demonstrations]) @ query)
        found = encoder.encode([one.said.fact for one in row]) @ query
        assert found == pytest.approx(every[::-1][:3], abs=1e-6)
    assert [len(row) for row in store.nearest(queries, 99)] == [4, 4]
    assert DemonstrationStore.build([], encoder).nearest(queries, 3) == [(), ()]


def test_what_is_saved_reads_back_and_is_not_encoded_again(tmp_path: Path) -> None:
    encoder = WordEncoder()
    given = [*facts("Aland"), *shipped_demonstrations()[:5]]
    store = DemonstrationStore.build(given, encoder)
    store.save(tmp_path / "demos")
    store.save(tmp_path / "demos")  # again, over what was there
    before = len(encoder.batches)
    again = DemonstrationStore.open(tmp_path / "demos", encoder)
    assert [one.said for one in again.demonstrations] == given
    assert len(encoder.batches) == before
    vector = encoder.encode([given[3].fact])
    assert again.nearest(vector, 1)[0][0].said == given[3]

    class Other(WordEncoder):
        fingerprint = "another"

    other = Other()
    assert DemonstrationStore.open(tmp_path / "demos", other).encoder == "another"
    assert other.batches, "vectors of another encoder are made anew"
    with (tmp_path / "demos" / FILE).open("a", encoding="utf-8") as file:
        file.write(facts("Elba")[0].model_dump_json() + "\n\n")
    assert len(DemonstrationStore.open(tmp_path / "demos", encoder)) == len(given) + 1


def test_a_damaged_index_is_made_anew(tmp_path: Path) -> None:
    encoder = WordEncoder()
    DemonstrationStore.build(facts("Aland", "Cuba"), encoder).save(tmp_path / "demos")
    (tmp_path / "demos" / "index" / "manifest.json").write_text("{}", encoding="utf-8")
    store = DemonstrationStore.open(tmp_path / "demos", encoder)
    assert store.nearest(encoder.encode(["Cuba"]), 1)[0][0].said.fact.startswith(
        "The capital of Cu"
    )


def test_a_plain_file_of_lines_will_do(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text(facts("Aland")[0].model_dump_json(), encoding="utf-8")
    assert len(DemonstrationStore.open(file, WordEncoder())) == 1


def test_errors_say_where_and_what(tmp_path: Path) -> None:
    with pytest.raises(MissingResourceError, match="memedit demos build"):
        DemonstrationStore.open(tmp_path / "none", WordEncoder())
    with pytest.raises(DatasetError, match=r"here, line 2 is no demonstration \(answer: Field req"):
        read_demonstrations(
            f'{facts("Cuba")[0].model_dump_json()}\n{{"fact":"f","prompt":"p"}}', "here"
        )
    with pytest.raises(DatasetError, match="line 1 is no demonstration"):
        read_demonstrations("nonsense", "here")
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="something else"):
        DemonstrationStore.build(facts("Cuba"), WordEncoder()).save(tmp_path)


def test_neighbours_are_lent_to_who_has_none_but_none_about_their_subject() -> None:
    own = Answered(prompt="The capital of Peru is", answer="Lima")
    rich = facts("Aland")[0].model_copy(update={"retain": (own,)})
    poor = facts("Norway")[0]
    neighbours = [
        Answered(prompt="The capital of Norway is", answer="Oslo"),
        Answered(prompt="What is sulphur like?", answer="yellow"),
        Answered(prompt="The capital of Kenya is", answer="Nairobi"),
    ]
    done = with_neighbours([(rich, "Aland"), (poor, "Norway")], neighbours, WordEncoder(), most=1)
    assert done == [rich, poor.model_copy(update={"retain": (neighbours[2],)})]


def test_room_is_kept_by_leaving_out_the_farthest() -> None:
    shown = Demonstrations(("far" * 10, "near" * 10, "own" * 10))
    need = sum(map(estimated_tokens, shown.texts))
    assert shown.within(need) is shown
    assert shown.within(need - 1) == Demonstrations(shown.texts[1:], 1)
    assert shown.within(need - 1).within(15) == Demonstrations(shown.texts[2:], 2)
    assert shown.within(-5) == Demonstrations((), 3)
    assert Insertion("x", "y").behind(shown).before == "".join(shown.texts) + "x"
    assert estimated_tokens("é" * 3) == 3 and estimated_tokens("") == 0


def test_names_are_found_by_whole_words() -> None:
    text = as_words("Where is Zoë's home?", "In Bergen.")
    assert as_words("Zoe") in text and as_words("bergen") in text
    assert as_words("Berg") not in text and as_words("home in") not in text
