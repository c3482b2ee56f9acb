"""The pair classifier: its graph against torch, what it reads, and what it makes of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from memedit.errors import InvalidInputError, MissingResourceError
from memedit.indexes.names import Words
from memedit.scope.base import ScopeInput
from memedit.scope.checkpoint import find_checkpoint
from memedit.scope.pair import PairClassifier
from memedit.scope.pair_input import HIDDEN, PairTokenizer
from memedit.scope.pair_weights import read_weights, write_weights
from memedit.scope.subjects import Mention, find_mention
from memedit.types import Candidate, Edit, EditRequest, QueryText, ScopeLabel

CONFIG = BertConfig(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48
)
TOKENIZER = find_checkpoint("all-MiniLM-L6-v2").tokenizer


@pytest.fixture(scope="module")
def model() -> tuple[BertModel, torch.nn.Linear]:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        head = torch.nn.Linear(32, 3)
        head.weight.data.mul_(20)
        return BertModel(CONFIG, add_pooling_layer=False).eval(), head


@pytest.fixture(scope="module")
def folder(
    model: tuple[BertModel, torch.nn.Linear], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    bert, head = model
    weights = {name: value.numpy() for name, value in bert.state_dict().items()}
    weights |= {f"head.{name}": value.numpy() for name, value in head.state_dict().items()}
    write_weights(folder / "pair.safetensors", CONFIG.to_dict(), weights)
    _, rounded = read_weights(folder / "pair.safetensors")
    for name, value in (*bert.state_dict().items(), *head.named_parameters(prefix="head")):
        error = np.abs(rounded[name] - value.detach().numpy())
        assert error.max() <= value.detach().abs().max() / 127 / 2 + 1e-7
        value.data.copy_(torch.from_numpy(rounded[name]))  # what torch is to agree with
    (folder / "tokenizer.json").write_bytes(TOKENIZER.read_bytes())
    record = {"threshold": 0.5, "temperature": 1.5, "part": [-4.0, 3.0, 2.0, -1.0, -2.0]}
    (folder / "pair.json").write_text(json.dumps(record))
    return folder


def candidate(
    subject: str = "Ada Lovelace", similarity: float = 0.8, **fields: object
) -> Candidate:
    request = EditRequest.model_validate(
        {"prompt": f"Where was {subject} born?", "subject": subject, "target_new": "Lume"} | fields
    )
    edit = Edit(
        id="e-aaaaaaaaaaaa",
        version=1,
        namespace="default",
        request=request,
        statement=request.plain_statement(),
        created_at=datetime.now(UTC),
    )
    return Candidate(edit, 0.8, request.prompt)


def test_the_graph_computes_what_torch_computes(
    model: tuple[BertModel, torch.nn.Linear], folder: Path
) -> None:
    pairs = [
        (f"Who wrote {HIDDEN}?", f"The author of {HIDDEN} is"),
        ("no subject", f"{HIDDEN} lies in"),
        (f"{'long ' * 90}{HIDDEN} and then more of it", "x"),
    ]
    tokenizer = PairTokenizer(TOKENIZER)
    bert, head = model
    expected = []
    for pair in pairs:
        ids, segments = (torch.tensor([row]) for row in tokenizer.ids(*pair))
        with torch.inference_mode():
            hidden = bert(input_ids=ids, token_type_ids=segments).last_hidden_state[:, 0]
            expected.append((head(hidden) / 1.5).softmax(1)[0].numpy())
    read = [(prompt, (edit,)) for prompt, edit in pairs]
    judged = PairClassifier(folder).judge(read)
    assert np.allclose(judged, np.stack(expected), atol=1e-5)
    alone = np.concatenate([PairClassifier(folder).judge([pair]) for pair in read])
    assert np.allclose(judged, alone, atol=1e-5)


def test_what_two_readings_of_an_edit_say_is_averaged() -> None:
    classifier = PairClassifier()
    prompt, asks = f"What country is {HIDDEN} located in?", f"Where does {HIDDEN} lie?"
    readings = (asks, f"{asks} Somalia")
    one, other, both = classifier.judge(
        [(prompt, readings[:1]), (prompt, readings[1:]), (prompt, readings)]
    )
    expected = np.exp((np.log(one) + np.log(other)) / 2)
    assert np.allclose(both, expected / expected.sum(), atol=1e-4)
    assert one[2] > 0.8 > 0.2 > other[2]  # the answer says that a country is asked for
    assert classifier.judge([]).shape == (0, 3)


def test_the_subject_is_one_mask_whose_neighbourhood_is_read() -> None:
    tokenizer = PairTokenizer(TOKENIZER, most=12)
    mask = 103
    ids, segments = tokenizer.ids(f"{'so ' * 50}Where was {HIDDEN} born?", f"{HIDDEN} was born in")
    assert ids.count(mask) == 2
    assert len(ids) == len(segments)
    assert segments.count(0) <= 12 + 2
    born = tokenizer.ids("born", "")[0][1]
    assert born in ids[: segments.count(0)]


def test_who_is_not_named_is_not_concerned(folder: Path) -> None:
    classifier = PairClassifier(folder)
    asked = QueryText("Where was Grace Hopper born?")
    [[decision]] = classifier.classify([ScopeInput(asked, (candidate(),))])
    assert (decision.label, decision.probability) == (ScopeLabel.UNRELATED, 0.0)
    own = QueryText("In which town was ADA LOVELACE born?")
    [[decision]] = classifier.classify([ScopeInput(own, (candidate(),))])
    assert decision.probability > 0
    assert decision.direct + decision.dependent + decision.unrelated == pytest.approx(1, abs=1e-5)


def test_aliases_earlier_turns_and_parts_of_a_name(folder: Path) -> None:
    classifier = PairClassifier(folder)
    whole = candidate()
    [[reference]] = classifier.classify(
        [ScopeInput(QueryText("Where was Ada Lovelace born?"), (whole,))]
    )
    alias = candidate(aliases=["the Countess"])
    [[decision]] = classifier.classify(
        [ScopeInput(QueryText("Where was the countess born?"), (alias,))]
    )
    assert decision.direct == pytest.approx(reference.direct, abs=1e-5)
    leaning = QueryText("And where was she born?", ("Who was Ada Lovelace?",))
    [[decision]] = classifier.classify([ScopeInput(leaning, (whole,))])
    assert decision.probability > 0
    king = candidate("Ada King Lovelace")
    [[part]] = classifier.classify([ScopeInput(QueryText("Where was Ada Lovelace born?"), (king,))])
    assert 0 < part.probability < 1


def test_a_mistyped_name_is_one_until_it_is_another_edits_name(folder: Path) -> None:
    classifier = PairClassifier(folder)
    asked = QueryText("Where was Ada Lovelase born?")
    meant, other = candidate(), candidate("Ada Lovelase")
    [[alone]] = classifier.classify([ScopeInput(asked, (meant,))])
    assert alone.probability > 0
    [[gone, named]] = classifier.classify([ScopeInput(asked, (meant, other))])
    assert gone.probability == 0 and named.probability == pytest.approx(alone.probability)


def test_a_prompt_is_judged_beside_every_wording_and_the_nearest_counts() -> None:
    classifier = PairClassifier()
    asked = QueryText("What is the birthplace of Ada Lovelace?")
    near, far = "The birthplace of Ada Lovelace is", "The shoe size of Ada Lovelace is"
    candidates = (
        candidate(prompt=near),
        candidate(prompt=far),
        candidate(prompt=far, rephrases=(near,)),
    )
    [[one, other, both]] = classifier.classify([ScopeInput(asked, candidates)])
    assert one.probability > classifier.threshold > other.probability
    assert both.probability == pytest.approx(one.probability, abs=1e-5)


def test_what_cannot_be_read_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingResourceError, match=r"expected pair\.safetensors"):
        PairClassifier(tmp_path)
    with pytest.raises(InvalidInputError, match="threshold"):
        PairClassifier(folder, threshold=2)
    assert PairClassifier(folder).classify([]) == []


def test_a_prompt_is_not_searched_for_names_of_which_it_has_no_word(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[tuple[str, ...]] = []

    def counted(words: Words, names: Iterable[str]) -> Mention | None:
        searched.append(words.words)
        return find_mention(words, names)

    classifier = PairClassifier(folder)
    one = candidate()
    classifier.classify([ScopeInput(QueryText(f"Where was {one.edit.request.subject}?"), (one,))])
    monkeypatch.setattr("memedit.scope.pair.find_mention", counted)
    read = classifier._known_by.cache_info().misses
    [[decision]] = classifier.classify([ScopeInput(QueryText("How do I bake bread?"), (one,))])
    assert decision.unrelated == 1.0
    assert searched == []
    assert classifier._known_by.cache_info().misses == read == 1  # its names were read before
