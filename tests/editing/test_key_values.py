"""ROME, MEMIT and their kin: on every family and in both dtypes; what their numbers promise."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from memedit.editing.alphaedit import AlphaEdit, AlphaEditConfig
from memedit.editing.base import Editor
from memedit.editing.bird import Bird
from memedit.editing.catalog import open_editor
from memedit.editing.closed_forms import least_squares, null_space
from memedit.editing.emmet import Emmet, EmmetConfig
from memedit.editing.key_value import KeyValueEditor
from memedit.editing.kn import Kn, KnConfig
from memedit.editing.memit import Memit, MemitConfig
from memedit.editing.r_rome import RRome, RRomeConfig
from memedit.editing.rome import Rome, RomeConfig
from memedit.editing.statistics import Statistics
from memedit.editing.values import Search, SearchConfig
from memedit.errors import InvalidInputError
from memedit.modeling.architecture import architecture
from memedit.modeling.delta import LowRank
from memedit.modeling.fingerprint import model_fingerprint, tensor_digest
from memedit.modeling.locate import Site, save_site
from memedit.modeling.tokens import pad
from memedit.types import EditRequest
from tests.editing.test_fine_tuning import REQUESTS, SIDES, loss, padded_loss
from tests.modeling.families import FAMILIES, tiny_model, tiny_tokenizer

METHODS = ("rome", "r-rome", "memit", "pmet", "emmet", "alphaedit", "bird", "kn")
# In a random model every key is like every other, and two layers' changes disturb each other: what
# is asked here is a small step the right way, in one layer.
SEARCH = SearchConfig(steps=12, enough=1.0, clamp=2.0)
QUICK: dict[str, Any] = {"contexts": 1, "context_tokens": 3, "search": SEARCH}
SETTINGS: dict[str, dict[str, Any]] = {
    **{name: {"layer": 1, **QUICK} for name in METHODS},
    "memit": {"layers": (1,), "preserve": 1.0, **QUICK},
    "pmet": {"layers": (1,), "preserve": 1.0, **QUICK},
    "alphaedit": {"layers": (1,), "share": 0.5, "ridge": 1.0, **QUICK},
    "kn": {"steps": 6, "contexts": 1},
}


@pytest.fixture(scope="module")
def statistics(tmp_path_factory: pytest.TempPathFactory) -> Statistics:
    """Return second moments over sentences like those that are edited, as a real corpus has."""
    folder = tmp_path_factory.mktemp("moments")
    towns, ends = ("Paris", "Lyon", "Rome", "Bonn"), ("lies in", "lives in", "is", "runs")
    told = [f"The {a} of {town} {end} {b}." for a in ("mayor", "river", "king") for town in towns
            for end in ends for b in ("France", "the north")]  # fmt: skip
    (folder / "corpus.txt").write_text("\n\n".join(told), encoding="utf-8")
    return Statistics(folder / "corpus.txt", ridge=1e-2, cache=folder)


def editor_of(name: str, statistics: Statistics) -> Editor[Any]:
    settings = {"layer": 1, **SETTINGS[name]}
    settings["layer"] = settings.get("layers", (1,))[-1]
    if "search" in settings:
        settings["search"] = asdict(settings["search"])
    kept = {} if name == "kn" else {"statistics": statistics}
    return open_editor(name, settings, **kept)


def losses(model: Any, tokenizer: Any, requests: list[EditRequest]) -> list[float]:
    return [loss(model, tokenizer, r.prompt, r.target_new) for r in requests]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", METHODS)
def test_every_family_learns_and_is_left_as_it_was(
    name: str, family: str, dtype: torch.dtype, statistics: Statistics
) -> None:
    turn = METHODS.index(name) + FAMILIES.index(family) + (dtype == torch.bfloat16)
    # Every method and every family is met with BOS and without, in both dtypes.
    model, tokenizer = tiny_model(family, dtype), tiny_tokenizer(bos=turn % 2 == 0)
    editor, requests = editor_of(name, statistics), REQUESTS[:2]
    if (name, family) == ("kn", "opt_350m"):
        with pytest.raises(InvalidInputError, match="output embeddings"):
            editor.edit(model, tokenizer, requests)
        return
    digests = {n: tensor_digest(p) for n, p in model.named_parameters()}
    before = sum(losses(model, tokenizer, requests))
    asked = {side: padded_loss(model, tokenizer, requests, side) for side in SIDES}
    delta = editor.edit(model, tokenizer, requests)
    assert digests == {n: tensor_digest(p) for n, p in model.named_parameters()}
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(isinstance(change, LowRank) for change in delta.changes.values())
    with delta.applied(model):
        assert sum(losses(model, tokenizer, requests)) < before
        for side, loss_before in asked.items():
            assert padded_loss(model, tokenizer, requests, side) < loss_before, side
    assert delta.method == name


@pytest.mark.parametrize("bos", [True, False], ids=["bos", "no-bos"])
@pytest.mark.parametrize("name", METHODS)
def test_rows_padded_on_the_left_find_what_those_padded_on_the_right_find(
    name: str, bos: bool, statistics: Statistics, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer(bos=bos)
    editor = editor_of(name, statistics).resolved(model, tokenizer)
    right = editor.edit(model, tokenizer, REQUESTS)
    for home in ("rows", "kn", "bird"):
        monkeypatch.setattr(f"memedit.editing.{home}.pad", partial(pad, side="left"))
    editor = editor_of(name, statistics).resolved(model, tokenizer)
    left = editor.edit(model, tokenizer, REQUESTS)
    assert left.names() == right.names()
    for parameter in left.names():
        found, expected = left.dense(parameter), right.dense(parameter)
        assert float((found - expected).norm()) < 1e-2 * float(expected.norm()), parameter


def settled(editor: KeyValueEditor[Any], model: Any, tokenizer: Any) -> KeyValueEditor[Any]:
    return editor.resolved(model, tokenizer)


def test_one_key_everywhere_reaches_the_value_that_was_searched(statistics: Statistics) -> None:
    model, tokenizer = tiny_model("gpt2"), tiny_tokenizer()
    config = RRomeConfig(layer=1, **QUICK)
    editor = settled(RRome(config, statistics=statistics), model, tokenizer)
    down = architecture(model).layer(1).down.module
    [request] = REQUESTS[:1]
    keys, outputs = editor.states(model, tokenizer, [request], [(down, "input"), (down, "output")])
    key, start = keys[0].mean(0), outputs[0, 0]
    found = editor.search(model, tokenizer, [request], [down], lambda done, total: None)
    delta = editor.edit(model, tokenizer, [request])
    with delta.applied(model), torch.no_grad():
        reached = down(key.float()[None])[0]
    wanted = start.float() + found.deltas[0][0]
    assert torch.allclose(reached, wanted, atol=1e-3)
    rome = settled(Rome(RomeConfig(layer=1, **QUICK), statistics=statistics), model, tokenizer)
    with rome.edit(model, tokenizer, [request]).applied(model), torch.no_grad():
        assert not torch.allclose(down(key.float()[None])[0], wanted, atol=1e-3)


def test_a_batch_finds_what_its_edits_find_alone(statistics: Statistics) -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    config = MemitConfig(layers=(0, 1), layer=1, **QUICK)
    editor = settled(Memit(config, statistics=statistics), model, tokenizer)
    module, quiet = architecture(model).layer(1).block, lambda done, total: None
    together = editor.search(model, tokenizer, REQUESTS, [module], quiet)
    for number, request in enumerate(REQUESTS):
        alone = editor.search(model, tokenizer, [request], [module], quiet)
        assert torch.allclose(together.deltas[0][number], alone.deltas[0][0], atol=2e-3)
        assert float(together.losses[number]) == pytest.approx(float(alone.losses[0]), abs=1e-3)
    small = replace(config, search=replace(SEARCH, rows=3))
    pieces = settled(Memit(small, statistics=statistics), model, tokenizer)
    again = pieces.search(model, tokenizer, REQUESTS, [module], quiet)
    assert torch.allclose(again.deltas[0], together.deltas[0], atol=2e-3)


def test_layers_close_the_gap_together(statistics: Statistics) -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    config = MemitConfig(layers=(0, 1), layer=1, preserve=0.1, **QUICK)
    editor = settled(Memit(config, statistics=statistics), model, tokenizer)
    block, quiet = architecture(model).layer(1).block, lambda done, total: None
    found = editor.search(model, tokenizer, REQUESTS[:1], [block], quiet)
    [start] = editor.states(model, tokenizer, REQUESTS[:1], [(block, "output")])
    delta = editor.edit(model, tokenizer, REQUESTS[:1])
    assert len(delta.names()) == 2 and all(len(k.T) == 1 for k in delta.keys.values())
    with delta.applied(model):
        [now] = editor.states(model, tokenizer, REQUESTS[:1], [(block, "output")])
    left = start[:, 0] + found.deltas[0].double() - now[:, 0]
    assert float(left.norm()) < 0.2 * float(found.deltas[0].norm())


def test_an_edit_keeps_the_best_value_that_it_came_by(statistics: Statistics) -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    # Steps as long as the limit itself: what the last one leaves is worse than what came before.
    far = SearchConfig(steps=6, enough=1e-6, clamp=300.0, rate=1.0, kl=0.0, decay=0.0)
    config = EmmetConfig(layer=1, **{**QUICK, "search": far})
    editor = settled(Emmet(config, statistics=statistics), model, tokenizer)
    down, quiet = architecture(model).layer(1).down.module, lambda done, total: None
    long = editor.search(model, tokenizer, REQUESTS, [down], quiet)
    assert bool((long.losses <= long.losses_before).all())
    again = Search(
        model,
        tokenizer,
        [down],
        editor.written(tokenizer, REQUESTS),
        editor.essences(tokenizer, REQUESTS),
        far,
    )
    _, essence = again._before()
    ones = [torch.ones(len(REQUESTS), 1)]
    losses = again._losses(list(range(len(REQUESTS))), [long.deltas[0]], ones, essence)[0]
    assert torch.allclose(losses.detach(), long.losses, atol=1e-3), "of the value that is returned"


@pytest.mark.parametrize("size", [1.0, 50.0])
def test_what_an_edit_reaches_does_not_hang_on_the_size_of_the_keys(size: float) -> None:
    draw = torch.Generator().manual_seed(2)
    sample = torch.randn(12, 200, generator=draw, dtype=torch.float64)
    spread = torch.linspace(0.05, 2.0, 12, dtype=torch.float64)[:, None]
    keys = size * spread * sample
    moment, key = keys @ keys.T / 200, keys[:, :1]
    gap = torch.randn(7, 1, generator=draw, dtype=torch.float64)
    memit = Memit(MemitConfig(layers=(0,), reach=0.9))
    memit.moments = {0: moment}
    left, right = memit.write(0, gap, key)
    assert torch.allclose(left @ right @ key, 0.9 * gap)
    memit.config = MemitConfig(layers=(0,), preserve=4.0)
    expected = least_squares(gap, key, 4.0 * moment)
    assert torch.equal(memit.write(0, gap, key)[1], expected[1]), "a published λ is taken as it is"
    alpha = AlphaEdit(AlphaEditConfig(layers=(0,), share=0.05, ridge=0.01))
    alpha.bases, alpha.names, alpha.after = {0: null_space(moment, 0.05)}, {0: "down"}, ()
    inside = (alpha.bases[0].T @ key).square().sum() / key.square().sum()
    assert float(inside) < 0.05, "hardly anything of the key lies in the null space"
    left, right = alpha.write(0, gap, key)
    assert torch.allclose(left @ right @ key, gap / 1.01)


def test_a_value_stays_within_its_limit(statistics: Statistics) -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    config = EmmetConfig(layer=1, **{**QUICK, "search": SearchConfig(steps=6, clamp=0.5)})
    editor = settled(Emmet(config, statistics=statistics), model, tokenizer)
    down = architecture(model).layer(1).down.module
    [start] = editor.states(model, tokenizer, REQUESTS, [(down, "output")])
    found = editor.search(model, tokenizer, REQUESTS, [down], lambda done, total: None)
    shares = found.deltas[0].norm(dim=1) / start[:, 0].float().norm(dim=1)
    assert float(shares.max()) <= 0.5 + 1e-5
    assert bool((found.losses < found.losses_before).all())


def test_alphaedit_leaves_earlier_edits_alone(statistics: Statistics) -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    config = AlphaEditConfig(layers=(1,), layer=1, share=2.0, ridge=1e-6, **QUICK)
    editor = settled(AlphaEdit(config, statistics=statistics), model, tokenizer)
    name = architecture(model).layer(1).down.name
    first = editor.edit(model, tokenizer, REQUESTS[:1])
    old = first.keys[name]
    assert old.shape == (48, 1)
    with first.applied(model):
        careless = editor.edit(model, tokenizer, REQUESTS[1:2])
        careful = editor.edit(model, tokenizer, REQUESTS[1:2], after=[first])
    disturbed = [float((d.dense(name) @ old).norm()) for d in (careless, careful)]
    assert disturbed[1] < 0.05 * disturbed[0]
    with pytest.raises(InvalidInputError, match="larger share"):
        AlphaEdit(replace(config, share=1e-9), statistics=statistics).edit(
            model, tokenizer, REQUESTS[:1]
        )


def test_statistics_are_taken_once_per_model(tmp_path: Path) -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    own = Statistics(texts=24, tokens=16, cache=tmp_path)
    seen: list[tuple[int, int]] = []
    first = own.moments(model, tokenizer, [0, 2], lambda done, total: seen.append((done, total)))
    assert seen[-1] == (24, 24)
    second = own.moments(model, tokenizer, [0, 2], lambda done, total: seen.append((0, 0)))
    assert (0, 0) not in seen and torch.equal(first[2], second[2])
    with torch.no_grad():
        model.get_input_embeddings().weight[5, 5] += 1.0
    assert not own.folder(model).exists()


def test_the_subject_must_stand_in_the_prompt(statistics: Statistics) -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    absent = EditRequest(prompt="The mayor lives in", subject="Paris", target_new="Rome")
    with pytest.raises(InvalidInputError, match="does not hold the subject"):
        editor_of("rome", statistics).edit(model, tokenizer, [absent])


def test_bird_pulls_more_when_asked_to(statistics: Statistics) -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    request = REQUESTS[0].model_copy(update={"ground_truth": "France"})
    config = Bird.config_type(layer=1, **QUICK)
    plain, pulled = (
        settled(Bird(replace(config, pull=pull), statistics=statistics), model, tokenizer).edit(
            model, tokenizer, [request]
        )
        for pull in (0.0, 1.0)
    )
    name = plain.names()[0]
    assert not torch.allclose(plain.dense(name), pulled.dense(name), atol=1e-4)


def test_kn_rewrites_few_neurons_of_any_layer() -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    delta = Kn(KnConfig(neurons=3, steps=6, contexts=1)).edit(model, tokenizer, REQUESTS[:1])
    columns = sum(int((delta.dense(n) != 0).any(0).sum()) for n in delta.names())
    assert columns == delta.notes["neurons"] <= 3
    assert delta.notes["loss_after"] < delta.notes["loss_before"]


def test_an_edit_is_spread_over_the_located_layers(statistics: Statistics, tmp_path: Path) -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    downs = [architecture(model).layer(n).down.name for n in range(2)]
    save_site(Site(1, (0, 1), "located", model_fingerprint(model)), tmp_path)
    config = MemitConfig(preserve=1.0, **QUICK)
    memit = Memit(config, statistics=statistics, sites=tmp_path)
    settled = memit.resolved(model)
    assert (settled.layers, settled.layer, settled.layer_from) == ((0, 1), 1, "located")
    for editor in (memit, settled):
        delta = editor.edit(model, tokenizer, REQUESTS[:1])
        assert set(delta.names()) == set(downs)
        assert (delta.notes["layers"], delta.notes["layer_from"]) == ([0, 1], "located")
    one = Rome(RomeConfig(**QUICK), statistics=statistics, sites=tmp_path).resolved(model)
    assert (one.layers, one.layer_from) == ((1,), "located")
    given = replace(config, layers=(1, 2))
    own = Memit(given, statistics=statistics, sites=tmp_path).resolved(model)
    assert (own.layers, own.layer_from) == ((1, 2), "settings"), "what is set comes first"
    assert open_editor("kn", sites=tmp_path).resolved(model).layers == (), "all are searched"
