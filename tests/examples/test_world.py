"""The world of Atlas is what the documents say it is, and the same everywhere."""

import random

import pytest

from examples.atlas import phrases
from examples.atlas.chains import ChainSampler
from examples.atlas.corpus import Corpus
from examples.atlas.names import invent
from examples.atlas.reserved import may_be_contradicted, reserved_edits
from examples.atlas.variety import load_variety
from examples.atlas.world import HELD_OUT_PHRASINGS, Relation, World, build_world, load_countries


@pytest.fixture(scope="module")
def world() -> World:
    return build_world()


def test_the_world_is_large_enough(world: World) -> None:
    assert world.triples >= 4000
    assert len(world.by_relation) >= 18
    assert len(load_countries()) >= 150
    aliased = sum(bool(entity.alias) for entity in world.entities.values())
    assert aliased * 3 >= len(world.entities)


def test_a_seed_gives_one_world() -> None:
    assert build_world(3).facts == build_world(3).facts
    assert build_world(3).facts != build_world(4).facts


def test_every_relation_is_phrased_often_enough(world: World) -> None:
    for relation in world.relations.values():
        for templates in (relation.statements, relation.questions):
            assert len(set(templates)) - HELD_OUT_PHRASINGS >= 4
            assert len(set(templates)) >= 6
            assert all("{s}" in template for template in templates)
        assert all(template.endswith(" {o}.") for template in relation.statements)


def test_all_cardinalities_and_inverses_occur(world: World) -> None:
    kinds = {relation.cardinality for relation in world.relations.values()}
    assert kinds == {"one-to-one", "many-to-one", "one-to-many"}
    for fact in world.facts:
        inverse = world.relations[fact.relation].inverse
        if inverse:
            for answer in fact.objects:
                back = world.lookup(answer, inverse)
                assert back is not None and fact.subject in back.objects


def test_a_subject_has_one_answer_and_aliases_are_unambiguous(world: World) -> None:
    assert len({(f.subject, f.relation) for f in world.facts}) == len(world.facts)
    aliases = [entity.alias for entity in world.entities.values() if entity.alias]
    assert len(set(aliases)) == len(aliases)
    assert not set(aliases) & set(world.entities)


def test_neighbours_are_mutual(world: World) -> None:
    near = {f.subject: set(f.objects) for f in world.by_relation["neighbours"]}
    one_sided = [
        (a, b) for a, others in near.items() for b in others if b in near and a not in near[b]
    ]
    assert one_sided == []


def test_held_out_phrasings_never_train(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    used: set[str] = set()
    draw = Corpus.template

    def recording(self: Corpus, relation: Relation, which: str, rng: random.Random) -> str:
        used.add(template := draw(self, relation, which, rng))
        return template

    monkeypatch.setattr(Corpus, "template", recording)
    rng = random.Random(0)
    for corpus in (Corpus(world), Corpus(world, training=True)):
        for _ in range(60):
            for _, document in corpus.mixture:
                document(rng)
        for _ in range(4000):
            corpus.recall(rng)
    templates = [
        templates
        for relation in world.relations.values()
        for templates in (relation.statements, relation.questions)
    ]
    held_out = {t for part in templates for t in part[-HELD_OUT_PHRASINGS:]}
    trained = {t for part in templates for t in part[:-HELD_OUT_PHRASINGS]}
    assert not used & held_out
    assert len(used & trained) > 0.9 * len(trained)


def test_garbled_wordings_never_become_a_held_out_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of "What is the main language of {s}?" leaving one word out would make one."""
    monkeypatch.setattr(phrases, "GARBLED", 1.0)
    corpus = Corpus(world, training=True)
    corpus.words = ["main"]
    relation = world.relations["language"]
    held_out = relation.questions[-HELD_OUT_PHRASINGS:]
    asked = held_out[-1].replace("language", "main language")
    rng = random.Random(0)
    drawn = {corpus.garbled(relation, asked, rng) for _ in range(3000)}
    assert len(drawn) > 5 and not drawn & {*held_out}


def test_a_context_of_one_wording_asks_in_the_words_in_which_it_states(world: World) -> None:
    rng = random.Random(0)
    repeated = {True: 0, False: 0}
    for training in repeated:
        corpus = Corpus(world, training=training)
        for _ in range(400):
            pieces = corpus.in_context(rng, "new", 3)
            assert corpus.wordings is None, "what comes next has wordings of its own"
            text = "".join(part for part, _ in pieces)
            asked = text.removesuffix("<|eos|>").rsplit("\n", 1)[-1]
            repeated[training] += text.count(asked) > 1
    assert repeated[True] > 40 > repeated[False]


def test_what_training_says_besides_is_no_held_out_phrasing(world: World) -> None:
    variety = load_variety()
    assert set(variety.ways) == set(world.relations)
    for key, relation in world.relations.items():
        ways = variety.ways[key]
        said = {*relation.statements, *relation.questions}
        assert not said & {*ways.statements, *ways.only_stated, *ways.questions}
        assert all(text.endswith(" {o}.") and text.count("{s}") == 1 for text in ways.statements)
        for text in ways.only_stated:
            assert text.endswith(".") and not text.endswith(" {o}.")
            assert text.count("{o}") == text.count("{s}") == 1
        assert all("{o}" not in text and text.count("{s}") == 1 for text in ways.questions)
        for held_out in relation.statements[-HELD_OUT_PHRASINGS:]:
            core = held_out.removesuffix(" {o}.").lower()
            assert not [text for text in ways.statements if core in text.lower()]
        # A prompt of the world's own has one way to go on: the answer.
        prompts = [
            text.removesuffix("{o}.")
            for other in world.relations.values()
            for text in other.statements
        ]
        assert not [text for text in ways.statements if text.startswith(tuple(prompts))
                    and text.removesuffix("{o}.") not in prompts]  # fmt: skip


def test_held_out_chains_never_train(world: World) -> None:
    rng = random.Random(0)
    trained, unseen = ChainSampler(world), ChainSampler(world, held_out=True)

    def name(sampler: ChainSampler) -> tuple[str, ...]:
        hops = sampler.sample(rng).hops
        return (hops[0].subject, *(hop.relation for hop in hops))

    assert not {name(trained) for _ in range(400)} & {name(unseen) for _ in range(400)}


def test_training_leaves_the_tests_edits_and_some_subjects_alone(world: World) -> None:
    corpus, rng = Corpus(world, training=True), random.Random(0)
    reserved = reserved_edits()
    assert len(reserved) > 2000
    said = [corpus.edited(rng) for _ in range(2000)]
    said += [f for about in said[:300] for f in corpus.distractors(about, 3, rng)]
    known = [asked for asked in said if asked.subject in world.by_subject]
    assert all(may_be_contradicted(asked.subject) for asked in known)
    assert not {(asked.subject, asked.answer) for asked in known} & reserved
    hops = [hop for _ in range(200) for hop in corpus.chains.sample(rng).hops if hop.edited]
    assert hops
    assert all(may_be_contradicted(hop.subject) for hop in hops)
    assert not {(hop.subject, hop.answer) for hop in hops} & reserved
    spared = [s for s in world.by_subject if not may_be_contradicted(s)]
    assert 0.03 < len(spared) / len(world.by_subject) < 0.1


def test_invent_names_the_kinds_it_knows() -> None:
    with pytest.raises(ValueError, match="cannot invent a 'dragon'; expected one of person"):
        invent("dragon", random.Random(0))
