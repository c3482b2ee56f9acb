"""Which prompts other edits in force speak to."""

import pytest

from memedit.evaluation.cases import Metric, Probe
from memedit.evaluation.rivals import LiveEdits
from memedit.types import EditRequest

OWN = EditRequest(
    prompt="The capital of Quendoria is", subject="Quendoria", target_new="Belost",
    ground_truth="Orsk",
)  # fmt: skip
ASKED = Probe(Metric.GENERALITY, "", "What is Quendoria's seat of government?", ("Belost",))


def rival(**other: str) -> EditRequest:
    told = {"prompt": "Quendoria is ruled from", "subject": "quendoria", "target_new": "Tamsin"}
    return EditRequest(**(told | other))


@pytest.mark.parametrize(
    ("other", "contradicts"),
    [
        (rival(ground_truth="Orsk"), True),
        (rival(ground_truth="Orsk", target_new="belost."), False),
        (rival(prompt="The capital of Quendoria is"), True),
        (rival(ground_truth="Wide"), False),
        (rival(), False),
        (rival(subject="Marovia", ground_truth="Orsk"), False),
        (OWN, False),
    ],
)
def test_two_answers_to_one_fact_contradict(other: EditRequest, contradicts: bool) -> None:
    assert LiveEdits([OWN, other]).contradict(ASKED, [OWN]) is contradicts


@pytest.mark.parametrize(("target", "contradicts"), [("Long River", True), ("the Wide", False)])
def test_so_does_another_answer_one_hop_further(target: str, contradicts: bool) -> None:
    hop = Probe(Metric.PORTABILITY, "Reasoning", "Quendoria's capital lies on the", ("Wide",))
    further = EditRequest(
        prompt="Belost lies on the", subject="Belost", target_new=target, ground_truth="Wide"
    )
    assert LiveEdits([OWN, further]).contradict(hop, [OWN]) is contradicts
