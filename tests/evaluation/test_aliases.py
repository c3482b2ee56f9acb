"""Aliases that prompts use and files do not list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memedit.errors import DatasetError, MissingResourceError
from memedit.evaluation.aliases import ALIASING, alias_in, known_by, read_aliases, with_aliases
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


def test_edits_carry_what_a_file_lists_for_their_subject(tmp_path: Path) -> None:
    file = tmp_path / "aliases.json"
    file.write_text(json.dumps({"Arda": ["Ardaland", "A."], "Bree": ["B"]}), encoding="utf-8")
    edit = EDIT.model_copy(update={"aliases": ("A.",)})
    other = EDIT.model_copy(update={"subject": "Rohan", "prompt": "The anthem of Rohan is"})
    cases = [EditCase("toy[0]", "toy", (edit, other), ())]
    [case], given = known_by(cases, read_aliases(file))
    assert given == 1
    assert [request.aliases for request in case.requests] == [("A.", "Ardaland"), ()]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("nothing", "is no JSON"),
        ('["Arda"]', "holds a list"),
        ('{"Arda": "Ardaland"}', "gives 'Arda' 'Ardaland'"),
        ('{"Arda": [" "]}', "gives 'Arda'"),
    ],
)
def test_what_is_no_list_of_aliases_is_said(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "aliases.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(DatasetError, match=said):
        read_aliases(file)


def test_a_list_of_aliases_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingResourceError, match=r"none\.json cannot be read"):
        read_aliases(tmp_path / "none.json")
