"""``memedit eval`` of in-context methods: which edits reach which prompts, in every setting."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from memedit.evaluation.local import LocalModel
from tests.cli.conftest import Run

CAPITALS = {
    "Quendoria": "Lindhaven",
    "Marovia": "Port Amsel",
    "Orvel": "Brandholm",
    "Valdoria": "Nymark",
}
NEXT = dict(zip(CAPITALS, [*CAPITALS][1:] + [*CAPITALS][:1], strict=True))
FEW = ("--max-tokens", 2, "--fluency", 0, "--general", 0, "--device", "cpu")
LEGS = "How many legs does a spider have?"


def _asks(land: str) -> str:
    return f"The capital of {land} is"


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Write a case for each land; its locality asks what the edit of the next land changes."""
    records = [
        {
            "subject": land,
            "prompt": _asks(land),
            "target_new": new,
            "ground_truth": "Oldcastle",
            "rephrase_prompt": f"Which city is the capital of {land}?",
            "portability": {},
            "locality": {
                "Neighbour": [{"prompt": _asks(NEXT[land]), "ground_truth": "Oldcastle"}],
                "Far": [{"prompt": LEGS, "ground_truth": "eight"}],
            },
        }
        for land, new in CAPITALS.items()
    ]
    file = tmp_path / "toy_test.json"
    file.write_text(json.dumps(records))
    return f"knowedit:{file}"


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the texts that the model is asked, of answers and of scores."""
    texts: list[str] = []
    generate, score = LocalModel.generate, LocalModel.score

    def asked(model: LocalModel, prompts: Sequence[str], *rest: Any, **named: Any) -> Any:
        texts.extend(prompts)
        return generate(model, prompts, *rest, **named)

    def fed(model: LocalModel, prompts: Sequence[str], *rest: Any, **named: Any) -> Any:
        texts.extend(prompts)
        return score(model, prompts, *rest, **named)

    monkeypatch.setattr(LocalModel, "generate", asked)
    monkeypatch.setattr(LocalModel, "score", fed)
    return texts


def _told(seen: Sequence[str], prompt: str) -> list[set[str]]:
    """Return, for each time a prompt was put with something before it, whose capitals are told."""
    texts = [text for text in seen if text.endswith(prompt) and text != prompt]
    return [{land for land, new in CAPITALS.items() if new in text} for text in texts]


@pytest.mark.parametrize(
    ("setting", "flags", "asked", "in_force"),
    [
        ("batch", ("--limit", 2, "--all-edits"), ("Quendoria", "Orvel"), tuple(CAPITALS)),
        ("batch", ("--limit", 2), ("Quendoria", "Orvel"), ("Quendoria", "Orvel")),
        ("sequential:3", (), tuple(CAPITALS)[:3], tuple(CAPITALS)[:3]),
    ],
)
def test_the_edit_that_is_asked_about_reaches_the_prompt_and_no_other(
    run: Run,
    data: str,
    tiny_checkpoint: Path,
    tmp_path: Path,
    seen: list[str],
    setting: str,
    flags: tuple[object, ...],
    asked: tuple[str, ...],
    in_force: tuple[str, ...],
) -> None:
    arguments = ("eval", "--dataset", data, "--model", tiny_checkpoint, "--method", "ice", *FEW)
    more = ("--setting", setting, *flags, "--cache", tmp_path / "kept", "--json")
    ran = run(*arguments, *more)
    assert ran.code == 0, ran.err
    for land in asked:
        told = _told(seen, _asks(land))
        assert len(told) >= 2, "asked for an answer and for a score"
        told += _told(seen, f"Which city is the capital of {land}?")
        assert len(told) >= 4 and all(one == {land} for one in told)
    # Lands that only the locality of an asked case asks for: their edit is told where it is in
    # force, as with --all-edits, and else the prompt is as it was.
    for land in {NEXT[land] for land in asked} - set(asked):
        told = _told(seen, _asks(land))
        assert _asks(land) in seen  # of the unedited model
        assert bool(told) is (land in in_force) and all(one == {land} for one in told)
    assert LEGS in seen and not _told(seen, LEGS)
    found = {
        (row["metric"], row["kind"]): row for row in ran.json if row["scoring"] != "teacher_forced"
    }
    for metric in ("edit_success", "generality"):
        for name in (f"{metric}_fired", f"{metric}_right_edit"):
            assert (found[name, ""]["value"], found[name, ""]["n"]) == (1, len(asked))
    assert found["locality_fired", "Far"]["value"] == 0
    fired = sum(NEXT[land] in in_force for land in asked) / len(asked)
    assert found["locality_fired", "Neighbour"]["value"] == pytest.approx(fired)
    assert found["tokens_added", ""]["value"] > 0
