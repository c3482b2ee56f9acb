"""Training SERAC: what rows say, which layers stay, a run that goes on, and what is written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from memedit.errors import InvalidInputError, MissingResourceError
from memedit.modeling.loading import load_checkpoint
from memedit.scope.base import ScopeInput
from memedit.scope.serac import SeracHead, SeracScope
from memedit.serac.counterfactual import Recipe, Trainer, rows_loss, said_exactly
from memedit.serac.cut import cut
from memedit.serac.examples import Asked, Row, Rows, Taught, plain_rows
from memedit.serac.scope import ScopePair, own_pairs, scope_pairs, train_scope, tried
from memedit.serac.train import train_serac
from memedit.types import Candidate, EditRequest, QueryText
from tests.routing.tiny_memory import edit

NAMES = [f"Land{letter}{number}" for letter in "abcdef" for number in range(6)]
WORDINGS = {
    "capital": ("The capital of {} is", "What is the capital of {}?", "{} is ruled from"),
    "anthem": ("The anthem of {} is", "What is the anthem of {}?", "People in {} sing"),
}


def taught(name: str, relation: str) -> Taught:
    own, *others = (text.format(name) for text in WORDINGS[relation])
    answer = f"Town {name[-1]}"
    request = EditRequest(prompt=own, subject=name, target_new=answer)
    asked = (Asked(own, answer), *(Asked(text, answer) for text in others))
    other = "anthem" if relation == "capital" else "capital"
    unrelated = tuple(text.format(name) for text in WORDINGS[other])
    return Taught(request, asked, unrelated, relation)


TAUGHT = [taught(name, relation) for name in NAMES for relation in WORDINGS]
SMALL = Recipe(steps=6, batch=4, layers=1, longest=200)


class Words:
    """A direction per word: texts are near whose words are the same."""

    dim = 64
    fingerprint = "words/64/torch"

    def encode(self, texts: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
        rows = np.zeros((len(texts), self.dim), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in text.lower().strip("?").split():
                row[sum(map(ord, word)) % self.dim] += 1
            row /= np.linalg.norm(row)
        return rows


def test_rows_depend_on_seed_and_place_alone_and_say_what_the_edit_says(
    tiny_checkpoint: Path,
) -> None:
    _, tokenizer = load_checkpoint(tiny_checkpoint)
    rows = Rows(TAUGHT, tokenizer, True, 7)
    drawn = rows.drawn(3, 200)
    assert drawn == Rows(TAUGHT, tokenizer, True, 7).drawn(3, 200)
    assert drawn != Rows(TAUGHT, tokenizer, True, 8).drawn(3, 200)
    assert rows.drawn(4, 200) != drawn
    for row in drawn:
        stated, _, asked = row.text.partition("\n")
        assert asked and stated.endswith(f" {row.answer}")
    assert {row.chat for row in drawn} == {True, False}
    assert any(row.earlier for row in drawn)
    known = {one.request.target_new for one in TAUGHT}
    assert 0.05 < sum(row.answer not in known for row in drawn) / 200 < 0.3, "made up"
    assert not any(row.chat for row in Rows(TAUGHT, tokenizer, False, 7).drawn(3, 50))
    with pytest.raises(InvalidInputError, match="nothing is left"):
        Rows([], tokenizer, True, 7)


def test_those_layers_go_that_are_missed_least(tiny_checkpoint: Path) -> None:
    model, tokenizer = load_checkpoint(tiny_checkpoint)
    rows = plain_rows(TAUGHT[:4], True)
    losses = []
    for number in (0, 1):
        one, _ = load_checkpoint(tiny_checkpoint)
        one.model.layers = torch.nn.ModuleList([one.model.layers[number]])
        one.model.layers[0].self_attn.layer_idx = 0
        one.config.num_hidden_layers = 1
        losses.append(rows_loss(one, tokenizer, rows))
    before = sum(one.numel() for one in model.parameters())
    assert cut(model, 1, lambda: rows_loss(model, tokenizer, rows)) == (losses.index(min(losses)),)
    assert rows_loss(model, tokenizer, rows) == pytest.approx(min(losses))
    assert sum(one.numel() for one in model.parameters()) < before
    assert model.config.num_hidden_layers == 1
    said = tokenizer("What", return_tensors="pt")
    model.generate(**said, max_new_tokens=3, do_sample=False)  # its cache fits
    assert cut(model, 1, lambda: 0.0) == (0,), "nothing is left out of what is small already"
    with pytest.raises(InvalidInputError, match="expected 1 to 1"):
        cut(model, 2, lambda: 0.0)


def trained(
    folder: Path, tiny_checkpoint: Path, recipe: Recipe, until: int | None = None
) -> dict[str, torch.Tensor]:
    """Train; ``until`` breaks off after so many steps."""
    model, tokenizer = load_checkpoint(tiny_checkpoint)
    cut(model, 1, lambda: 0.0)
    trainer = Trainer(model, tokenizer, TAUGHT, recipe, folder)

    def tell(done: int, steps: int) -> None:
        if done == until:
            raise KeyboardInterrupt

    if until is None:
        trainer.train()
    else:
        with pytest.raises(KeyboardInterrupt):
            trainer.train(tell)
    return {name: one.detach().clone() for name, one in model.named_parameters()}


def test_a_run_that_is_broken_off_goes_on_as_if_it_had_not_been(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memedit.serac.counterfactual.SAVE_EVERY", 2)
    whole = trained(tmp_path / "whole", tiny_checkpoint, SMALL)
    trained(tmp_path / "broken", tiny_checkpoint, SMALL, until=5)
    again = trained(tmp_path / "broken", tiny_checkpoint, SMALL)
    assert all(torch.equal(again[name], one) for name, one in whole.items())
    with pytest.raises(InvalidInputError, match="another recipe"):
        trained(tmp_path / "broken", tiny_checkpoint, replace(SMALL, rate=0.5))


def test_it_learns_to_say_the_edits_answer(tiny_checkpoint: Path, tmp_path: Path) -> None:
    model, tokenizer = load_checkpoint(tiny_checkpoint)
    rows = plain_rows(TAUGHT[:2], True)
    before = rows_loss(model, tokenizer, rows)
    assert said_exactly(model, tokenizer, rows) == 0
    recipe = replace(SMALL, steps=60, batch=8, rate=3e-3, warmup=5)
    Trainer(model, tokenizer, TAUGHT, recipe, tmp_path).train()
    assert rows_loss(model, tokenizer, rows) < before - 1
    assert said_exactly(model, tokenizer, []) is None


def test_what_is_in_scope_of_a_relation_is_so_for_each_of_its_edits() -> None:
    pairs = scope_pairs(TAUGHT)
    assert len(pairs) == 2 * (3 + 3)
    assert not any(
        name in text for one in pairs for text in (one.prompt, one.edit) for name in NAMES
    )
    assert ScopePair("What is the capital of X?", "The capital of X is", 1.0, True) in pairs
    assert ScopePair("The anthem of X is", "The capital of X is", 1.0, False) in pairs


def test_the_projection_tells_relations_apart() -> None:
    learned = train_scope(scope_pairs(TAUGHT), Words())
    assert learned.encoder == "words/64"
    found = tried(learned, own_pairs(TAUGHT[:4]), Words())
    assert found == {"in_scope": {"n": 8, "fires": 1.0}, "out_of_scope": {"n": 12, "fires": 0.0}}
    scope = SeracScope(Words(), learned)
    capital = edit("The capital of Landa0 is", "Town", subject="Landa0")

    def fires(text: str) -> float:
        candidates = (Candidate(capital, 0.5, text),)
        [[decision]] = scope.classify([ScopeInput(QueryText(text), candidates)])
        return decision.direct

    assert fires("the capital of  Landa0 is") == 1.0, "its own prompt, however far the vectors"
    assert fires("What is the capital of Landa0?") > 0.5 > fires("The anthem of Landa0 is")
    assert fires("What is the capital of Landb1?") == 0.0, "nobody it knows"
    with pytest.raises(InvalidInputError, match="locality probes"):
        train_scope([one for one in scope_pairs(TAUGHT) if one.in_scope], Words())


def test_one_folder_holds_both_and_says_what_they_were_trained_on(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    files = [{"format": "knowedit", "file": "toy.json", "sha256": "ab" * 32}]
    out = tmp_path / "serac"
    steps: list[int] = []

    def make(folder: Path) -> dict[str, Any]:
        return train_serac(
            TAUGHT, files, tiny_checkpoint, folder, Words(), SMALL, lambda n, _: steps.append(n)
        )

    record = make(out)
    assert steps == [1, 2, 3, 4, 5, 6]
    assert json.loads((out / "manifest.json").read_text(encoding="utf-8")) == record
    assert record["trained_on"] == files
    assert record["parameters"] < record["base"]["parameters"]
    kept_out = [one for one in TAUGHT if one.held_out]
    assert 0 < record["held_out"]["edits"] == len(kept_out) == len(TAUGHT) - record["edits"]
    assert record["held_out"]["answers"]["n"] == 3 * len(kept_out)
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "model", "scope"]
    model, _ = load_checkpoint(out / "model")
    assert model.config.num_hidden_layers == 1
    above, inside = SeracHead.read(out), SeracHead.read(out / "scope")
    assert np.array_equal(above.projection, inside.projection)
    assert make(tmp_path / "again")["fingerprint"] == record["fingerprint"]
    with pytest.raises(InvalidInputError, match="already"):
        make(out)


def test_a_run_of_other_data_is_not_gone_on_with(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "about.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="other data"):
        train_serac(TAUGHT, [], tiny_checkpoint, tmp_path, Words(), SMALL)
    with pytest.raises(MissingResourceError, match="no checkpoint"):
        train_serac(TAUGHT, [], tmp_path, tmp_path / "other", Words(), SMALL)


def test_a_row_ends_as_an_answer_ends(tiny_checkpoint: Path) -> None:
    from memedit.modeling.forms import chat_form
    from memedit.serac.counterfactual import row_tokens

    _, tokenizer = load_checkpoint(tiny_checkpoint)
    form = chat_form(tokenizer)
    plain = row_tokens(tokenizer, form, Row("A is B\nA is", False, "B"))
    assert tokenizer.decode(plain.target) == " B</s>"
    turn = row_tokens(tokenizer, form, Row("A is B\nA?", True, "B", ("C?", "D")))
    assert tokenizer.decode(turn.prompt).startswith("user: C?\nassistant: D\nuser: A is B\nA?")
