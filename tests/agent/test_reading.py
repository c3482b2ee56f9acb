"""Reading what a model writes: any text, any script; nothing crashes, loops or is made up."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memedit.agent import AGENTS, Endpoint, Usage
from memedit.agent.completing import Completion
from memedit.agent.lines import Label, answer_of, closed, is_unknown, one_line, read_lines
from memedit.agent.turn import Turn, own_answer, read_turn
from memedit.routing import run_sync
from tests.agent.scripted import Scripted
from tests.routing.tiny_memory import edit, router


def said(text: str, *, cut_off: bool = False) -> Completion:
    return Completion(text, cut_off, Usage())


WORDS = st.sampled_from(
    [label.value for label in Label]
    + [
        "\n",
        ": ",
        "Who?",
        "**",
        "# ",
        "- ",
        "1. ",
        "Retrieved fact ",
        "contradicts ",
        "\u2028",
        "é",
    ]
)
ODD = st.one_of(st.text(max_size=80), st.lists(WORDS, max_size=12).map("".join))
SPOKEN = st.tuples(ODD, st.sampled_from(["stop", "length"]))


@given(ODD)
def test_lines_are_single_lines_that_read_back_as_themselves(text: str) -> None:
    for line in read_lines(text):
        assert line.text == one_line(line.text)
        if (
            line.text
            and not re.match(r"[\W_\d]", line.text)
            and not re.search(r"[\W_]$", line.text)
        ):
            assert read_lines(str(line)) == (line,)


@given(ODD, st.booleans())
def test_a_turn_never_holds_both_a_subquestion_and_a_final_answer(text: str, cut: bool) -> None:
    turn = read_turn(said(text, cut_off=cut))
    assert turn.final is None or turn.subquestion is None
    for part in (turn.subquestion, turn.generated, turn.final):
        assert part is None or (part and "\n" not in part)
    answer = own_answer(said(text, cut_off=cut))
    assert answer is None or (answer and "\n" not in answer)
    assert closed(answer_of(text)).count("\n") == 0


@pytest.mark.parametrize("method", AGENTS.names())
@settings(max_examples=60, deadline=None)
@given(
    script=st.lists(st.tuples(ODD, st.sampled_from(["stop", "length"])), min_size=40, max_size=40)
)
def test_any_model_comes_to_an_end_in_a_bounded_number_of_calls(
    method: str, script: list[tuple[str, str]]
) -> None:
    agent = AGENTS.get(method)(demonstrations="")
    endpoint = Scripted(script)
    plan = agent.answer("Who leads the country of the bridge?", Endpoint("m"))
    trace = run_sync(plan, router(edit("Who?", "Nobody", subject="Who")), endpoint)
    assert (trace.answer is None) == (trace.error is not None)
    assert len(trace.hops) <= agent.max_hops
    assert len(endpoint.bodies) == trace.usage.calls <= 2 * agent.max_hops + 2
    asked = [hop.subquestion.casefold() for hop in trace.hops]
    assert len(set(asked)) == len(asked)
    trace.to_dict()


@pytest.mark.parametrize(
    ("text", "turn"),
    [
        (
            "\n**Subquestion:** Who?\n**Generated answer:** Me.\n",
            Turn(None, "Who?", "Me."),
        ),
        ("Sure! Let me think.\n\nSub-question 1: Who?\n", Turn(None, "Who?")),
        ("Subquestion:\nWho?", Turn(None, "Who?")),
        ("FINAL ANSWER: Oslo.\nQuestion: Who else?", Turn(final="Oslo.")),
        ("Subquestion: Who?\nFinal answer: Me.", Turn(None, "Who?")),
        ("Subquestion: Who?\nSubquestion: And who?", Turn(None, "Who?")),
        ("Retrieved fact: something made up\nFinal answer: x", Turn()),
        ("Final answer:", Turn()),
        ("", Turn()),
    ],
)
def test_what_models_write_is_read(text: str, turn: Turn) -> None:
    assert read_turn(said(text)) == turn


@pytest.mark.parametrize(
    ("text", "label", "answer"),
    [
        (
            "The retrieved fact does not contradict the generated answer, so the intermediate "
            "answer is: Oslo.",
            Label.AGREES,
            "Oslo.",
        ),
        ("Retrieved fact doesn't contradict to generated answer.", Label.AGREES, ""),
        (
            "Retrieved fact contradict generated answer, so the intermediate answer is Oslo",
            *(
                Label.CONTRADICTS,
                "Oslo",
            ),
        ),
        ("According to generated answer, the entity of subquestion is: Oslo.", Label.READ, "Oslo."),
    ],
)
def test_conclusions_are_read(text: str, label: Label, answer: str) -> None:
    conclusion = read_turn(said(f"\n{text}\nFinal answer: x")).conclusion
    assert conclusion is not None and (conclusion.label, conclusion.text) == (label, answer)


def test_half_a_line_is_not_believed() -> None:
    cut = said("\nSubquestion: Who?\nGenerated answer: The one that wa", cut_off=True)
    assert read_turn(cut) == Turn(None, "Who?")
    assert own_answer(said(" The one that wa", cut_off=True)) is None
    assert own_answer(said(" The one.\nFinal an", cut_off=True)) == "The one."
    assert own_answer(said("Generated answer: The one.")) == "The one."
    assert own_answer(said("Final answer: The one.")) is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Oslo.", "Oslo"),
        ("U.S.", "U.S."),
        ("Vitamin C.", "Vitamin C."),
        (" a\nb ", "a b"),
        ("", ""),
    ],
)
def test_answers_lose_the_full_stop_of_their_line(text: str, answer: str) -> None:
    assert answer_of(text) == answer
    assert closed(answer) == (f"{answer}." if not answer.endswith(".") else answer)


def test_not_knowing_is_seen() -> None:
    assert is_unknown("I don't know") and is_unknown("Well, i do not know that.")
    assert not is_unknown("I know") and not is_unknown("Don Quixote")
