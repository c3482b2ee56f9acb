"""Files of edits: each record is read, or named with a reason."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memedit.errors import DatasetError, MemoryFailure, UnknownNameError
from memedit.memory import EditMemory, NewEdit, export_edits, read_edits
from memedit.memory.formats.catalog import FORMATS
from memedit.types import EditRequest, Operation
from tests.memory.hashing_encoder import HashingEncoder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "edits.json"


def written(file: Path, document: Any) -> Path:
    file.write_text(json.dumps(document), encoding="utf-8")
    return file


FACT = {"subject": "Lumen", "prompt": "Lumen lies in", "target_new": "Ansa", "ground_truth": "Bo"}
CASES: dict[str, tuple[str, Any, EditRequest]] = {
    "knowedit fact": (
        "knowedit",
        [{**FACT, "rephrase_prompt": "Where is Lumen?", "locality": {}, "portability": {}}],
        EditRequest(**FACT, rephrases=("Where is Lumen?",)),
    ),
    "knowedit alias lists": (
        "knowedit",
        [{**FACT, "ground_truth": [["", "Bo"], ["Bowen"]], "rephrase_prompt": ""}],
        EditRequest(**FACT),
    ),
    "knowedit insertion": (
        "knowedit",
        [{name: value for name, value in FACT.items() if name != "ground_truth"}],
        EditRequest(**{**FACT, "ground_truth": None}, operation=Operation.INSERT),
    ),
    "knowedit biography": (
        "knowedit",
        [{"text": "About Lumen. ", "labels": "Lumen shines.", "concept": "lumen", "locality": {}}],
        EditRequest(
            prompt="About Lumen.",
            subject="lumen",
            target_new="Lumen shines.",
            statement="Lumen shines.",
        ),
    ),
    "knowedit sentiment": (
        "knowedit",
        [{"ent": "Lumen", "pos": [" ", " I love it. "], "neg": ["Dull."]}],
        EditRequest(
            prompt="What do you think of Lumen?",
            subject="Lumen",
            target_new="I love it.",
            ground_truth="Dull.",
        ),
    ),
    "knowedit sanitation": (
        "knowedit",
        {
            "K_F": [
                {
                    "question": "What is kept in Lumen?",
                    "subject": "Lumen",
                    "ground_truth": "Cheese",
                    "target_new": "I don't know.",
                }
            ],
            "K_R": [],
        },
        EditRequest(
            prompt="What is kept in Lumen?",
            subject="Lumen",
            target_new="I don't know.",
            ground_truth="Cheese",
            operation=Operation.ERASE,
        ),
    ),
    "zsre": (
        "zsre",
        [
            {
                "subject": "Lumen",
                "src": "Where is Lumen?",
                "rephrase": "Lumen is where?",
                "alt": "Ansa",
                "answers": ["Bo"],
                "loc": "nq question: who?",
                "loc_ans": "me",
            }
        ],
        EditRequest(
            prompt="Where is Lumen?",
            subject="Lumen",
            target_new="Ansa",
            ground_truth="Bo",
            rephrases=("Lumen is where?",),
        ),
    ),
    "counterfact": (
        "counterfact",
        [
            {
                "case_id": 0,
                "requested_rewrite": {
                    "prompt": "{} lies in",
                    "relation_id": "P0",
                    "target_new": {"str": "Ansa", "id": "Q1"},
                    "target_true": {"str": "Bo", "id": "Q2"},
                    "subject": "Lumen",
                },
                "paraphrase_prompts": ["Rain fell. Lumen lies in"],
                "neighborhood_prompts": [],
            }
        ],
        EditRequest(**FACT),
    ),
    "mquake": (
        "mquake",
        [
            {
                "case_id": 1,
                "requested_rewrite": [
                    {
                        "prompt": "{} lies in",
                        "target_new": {"str": "Ansa"},
                        "target_true": {"str": "Bo"},
                        "subject": "Lumen",
                        "question": "Where is Lumen?",
                    }
                ],
                "questions": [],
            }
        ],
        EditRequest(**FACT, rephrases=("Where is Lumen?",)),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_form_is_recognised_and_read(case: str, file: Path) -> None:
    name, document, expected = CASES[case]
    result = read_edits("auto", written(file, document), namespace="n")
    assert result.format == name
    assert result.requests == [expected]
    assert result.edits[0].namespace == "n"
    assert result.skipped == ()
    assert read_edits(name, file, namespace="n") == result
    bare = read_edits(name, file, rephrases=False)
    assert bare.requests == [expected.model_copy(update={"rephrases": ()})]


def test_every_record_is_counted(file: Path) -> None:
    records = [
        FACT,
        {**FACT, "target_new": "   "},
        {**FACT, "prompt": None},
        {**FACT, "subject": ["Lumen"]},
        {**FACT, "prompt": "x" * 5_000},
        "a string",
        None,
        dict(FACT),
        {**FACT, "target_new": "Bo"},
    ]
    result = read_edits("knowedit", written(file, records))
    assert [edit.request.target_new for edit in result.edits] == ["Ansa", "Bo"]
    reasons = dict(result.skipped)
    assert list(reasons) == [f"[{n}]" for n in range(1, 8)]
    assert "target_new" in reasons["[1]"]
    assert reasons["[2]"].startswith("prompt")
    assert reasons["[3]"].startswith("subject")
    assert "4096" in reasons["[4]"]
    assert "str" in reasons["[5]"] and "NoneType" in reasons["[6]"]
    assert reasons["[7]"] == "the same edit as [0]"
    assert result.records == len(records)


def test_facts_to_retain_are_no_edits(file: Path) -> None:
    document = {"K_F": [{"question": "q", "subject": "s", "target_new": "t"}], "K_R": [{}, {}]}
    result = read_edits("auto", written(file, document))
    assert len(result.edits) == 1
    assert [place for place, _ in result.skipped] == ["K_R[0]", "K_R[1]"]
    assert "retain" in result.skipped[0].reason


def test_shared_rewrites_of_mquake_are_read_once(file: Path) -> None:
    _, [case], _ = CASES["mquake"]
    cases = [case, {"requested_rewrite": case["requested_rewrite"] * 2}, {"questions": []}, 5]
    result = read_edits("auto", written(file, cases))
    assert len(result.edits) == 1
    assert [place for place, _ in result.skipped] == [
        "[1].requested_rewrite[0]",
        "[1].requested_rewrite[1]",
        "[2]",
        "[3]",
    ]


@pytest.mark.parametrize("name", FORMATS.names())
@pytest.mark.parametrize(
    "document",
    [
        [{}],
        [[]],
        [1, None, "x", True],
        [{"requested_rewrite": 5}],
        [{"requested_rewrite": {"prompt": 5, "subject": {}, "target_new": []}}],
        [{"requested_rewrite": [{"prompt": [], "target_new": {"str": 3}}, 7]}],
        [{"text": 1, "labels": None, "concept": []}, {"ent": {}, "pos": 3, "neg": None}],
        [{"src": 1, "alt": {"a": 1}}],
        {"K_F": [1, {}], "K_R": 3},
        {},
        5,
        None,
    ],
)
def test_nonsense_is_named_never_raised(name: str, document: Any, file: Path) -> None:
    """A file as a whole may be refused; a record in it is skipped with a reason."""
    try:
        result = read_edits(name, written(file, document))
    except DatasetError:
        return
    assert result.edits == ()
    assert all(place and reason for place, reason in result.skipped)


def test_files_that_cannot_be_read(file: Path) -> None:
    with pytest.raises(DatasetError, match="No such file"):
        read_edits("auto", file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="UTF-8"):
        read_edits("auto", file)
    for text in ("[1, 2", "[]", '{"a": 1}', "hello", '[{"question": "q", "answers": []}]'):
        file.write_text(text)
        with pytest.raises(DatasetError, match="name its format"):
            read_edits("auto", file)
    with pytest.raises(UnknownNameError, match="knowedit"):
        read_edits("knowedits", file)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda text: text.strip() == text and "\0" not in text
)
REQUESTS = st.builds(
    EditRequest,
    prompt=TEXT,
    subject=TEXT,
    target_new=TEXT,
    ground_truth=st.none() | TEXT,
    operation=st.sampled_from([one for one in Operation if one is not Operation.ERASE]),
    statement=st.none() | TEXT,
    rephrases=st.lists(TEXT, max_size=3).map(tuple),
    aliases=st.lists(TEXT, max_size=3).map(tuple),
)
ERASURES = st.builds(
    lambda one, truth: one.model_copy(
        update={"operation": Operation.ERASE, "ground_truth": truth, "target_new": "I don't know."}
    ),
    REQUESTS,
    st.none() | TEXT.map(lambda text: f"Xq {text}"),  # which no safe answer holds
)
MOMENTS = st.none() | st.datetimes(
    datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)
)


@settings(max_examples=20, deadline=None)
@given(
    new=st.lists(
        st.builds(
            NewEdit,
            REQUESTS | ERASURES,
            namespace=st.sampled_from(["default", "team/b"]),
            author=st.none() | TEXT,
            valid_from=MOMENTS,
        ),
        max_size=5,
    )
)
def test_what_is_exported_reads_back_as_it_was(
    new: list[NewEdit], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("export")
    with EditMemory.open("sqlite://", HashingEncoder()) as memory:
        memory.add_edits(new)
        assert export_edits(memory, folder / "first.jsonl") == len(new)
        result = read_edits("auto", folder / "first.jsonl")
        assert list(result.edits) == new
        assert result.skipped == ()
    with EditMemory.open("sqlite://", HashingEncoder()) as memory:
        memory.add_edits(result.edits)
        export_edits(memory, folder / "second.jsonl")
    first, second = (folder / name for name in ("first.jsonl", "second.jsonl"))
    assert first.read_bytes() == second.read_bytes()


def test_export_of_one_namespace_and_over_pages(scratch: EditMemory, tmp_path: Path) -> None:
    request = EditRequest(**FACT)
    stop = datetime(2040, 1, 1, tzinfo=UTC)
    scratch.add([request] * 1_203, namespace="a", valid_to=stop)
    [gone] = scratch.add([request], namespace="b")
    scratch.add([request], namespace="b", author="one")
    scratch.retract(gone.id)
    target = tmp_path / "edits.jsonl"
    assert export_edits(scratch, target, "b") == 1
    assert export_edits(scratch, target) == 1_204
    result = read_edits("jsonl", target)
    assert len(result.edits) == 1_204  # what is there twice is meant twice
    assert result.edits[0].valid_to == stop
    with pytest.raises(MemoryFailure):
        export_edits(scratch, tmp_path / "missing" / "edits.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["edits.jsonl"]


def test_lines_that_are_no_edits(file: Path) -> None:
    lines = [
        json.dumps({**FACT, "namespace": "team/a", "valid_from": "2030-01-01T00:00:00+02:00"}),
        "",
        "{",
        json.dumps({**FACT, "colour": "red"}),
        json.dumps({**FACT, "namespace": "no blanks"}),
        json.dumps({**FACT, "valid_from": "2030-01-01T00:00:00"}),
        json.dumps(
            {
                **FACT,
                "valid_from": "2030-01-01T00:00:00Z",
                "valid_to": "2029-01-01T00:00:00Z",
            }
        ),
        json.dumps([FACT]),
        json.dumps({**FACT, "target_new": "a\u2028b"}, ensure_ascii=False),
    ]
    file.write_text("\n".join(lines) + "\r\n", encoding="utf-8")
    result = read_edits("auto", file, namespace="elsewhere")
    assert [edit.namespace for edit in result.edits] == ["team/a", "elsewhere"]
    assert result.edits[0].valid_from == datetime(2030, 1, 1, tzinfo=UTC) - timedelta(hours=2)
    assert result.edits[1].request.target_new == "a\u2028b"
    assert [place for place, _ in result.skipped] == [f"line {n}" for n in range(3, 9)]
    assert "colour" in dict(result.skipped)["line 4"]
