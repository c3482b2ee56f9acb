"""Aliases that prompts use and files do not list."""

from __future__ import annotations

import pytest

from memedit.evaluation.aliases import ALIASING, alias_in, with_aliases
from memedit.evaluation.cases import EditCase, Metric, Probe
from memedit.types import EditRequest

EDIT = EditRequest(prompt="The anthem of Arda is", subject="Arda", target_new="Song")


@pytest.mark.parametrize(
    ("prompt", "alias"),
    [
        ("The anthem of the Land of Rain is", "the Land of Rain"),
        ("the anthem of Ardaland is?", "Ardaland"),
        ("The anthem of Arda is", None),  # no alias
        ("What is the anthem of Ardaland?", None),  # other words
        ("The anthem of is", None),  # nothing there
        ("The anthem of the capital of the country that lies north of Bree is", None),  # no name
    ],
)
def test_an_alias_stands_where_the_subject_does(prompt: str, alias: str | None) -> None:
    assert alias_in(prompt, EDIT) == alias


def test_edits_carry_what_their_prompts_use_and_the_rest_is_named() -> None:
    probes = (
        Probe(Metric.PORTABILITY, ALIASING, "The anthem of Ardaland is", ("Song",)),
        Probe(Metric.PORTABILITY, ALIASING, "Ardaland sings", ("Song",)),
        Probe(Metric.PORTABILITY, "Reasoning", "Who wrote the anthem of Arda?", ("Ina",)),
    )
    edit = EDIT.model_copy(update={"aliases": ("A.",)})
    done = with_aliases([EditCase("toy[0]", "toy", (edit,), probes)])
    [case] = done.cases
    assert case.requests[0].aliases == ("A.", "Ardaland")
    assert case.probes == (probes[0], probes[2])
    assert (done.found, done.unclear) == (1, (f"toy[0].{ALIASING}[1]",))
