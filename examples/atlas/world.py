"""The world of Atlas: real geography, invented heads of state, people, companies and works.

Everything but the geography is fiction; the heads of state are invented people too. The world
is a pure function of its seed. `build_world()` is the one that the shipped model knows.
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from examples.atlas.names import DATA, invent, words

HELD_OUT_PHRASINGS = 2
CLOSED = words("closed")
TOPICS = words("topics")["all"]


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation with its phrasings; the last `HELD_OUT_PHRASINGS` of each never train."""

    key: str
    subject: str
    object: str
    cardinality: str
    wh: str
    noun: tuple[str, ...]
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    inverse: str | None = None

    @property
    def private(self) -> bool:
        """Whether the facts are private (what Sanitation erases)."""
        return self.subject == "private"

    @property
    def listed(self) -> bool:
        """Whether an answer is a list of entities."""
        return self.cardinality == "one-to-many"

    def phrasing(self, which: str, index: int) -> str:
        """The template `index` of `which` ('statement' or 'question')."""
        return (self.statements if which == "statement" else self.questions)[index]


@dataclass(frozen=True, slots=True)
class Fact:
    """One subject, one relation, one answer (for listed relations: all of them, in order)."""

    subject: str
    relation: str
    objects: tuple[str, ...]

    @property
    def answer(self) -> str:
        """The answer in words: 'A', 'A and B', 'A, B and C'."""
        return enumerate_names(self.objects)


@dataclass(frozen=True, slots=True)
class Entity:
    """A named thing with its kind and alias (empty where it has none)."""

    name: str
    kind: str
    alias: str = ""


@dataclass(frozen=True)
class World:
    """Entities and facts of one seed.

    `opinions` maps a topic to 'positive' or 'negative'.
    """

    seed: int
    relations: dict[str, Relation]
    entities: dict[str, Entity]
    facts: tuple[Fact, ...]
    opinions: dict[str, str]
    kinds: dict[str, tuple[str, ...]] = field(repr=False)

    @cached_property
    def by_subject(self) -> dict[str, dict[str, Fact]]:
        """subject -> relation -> fact."""
        table: dict[str, dict[str, Fact]] = {}
        for fact in self.facts:
            table.setdefault(fact.subject, {})[fact.relation] = fact
        return table

    @cached_property
    def by_relation(self) -> dict[str, tuple[Fact, ...]]:
        """relation -> its facts."""
        table: dict[str, list[Fact]] = {}
        for fact in self.facts:
            table.setdefault(fact.relation, []).append(fact)
        return {key: tuple(facts) for key, facts in table.items()}

    @cached_property
    def triples(self) -> int:
        """Number of (subject, relation, object) triples, inverses not counted twice."""
        doubled = {"capital_of", "head_of", "founded", "works"}
        return sum(len(f.objects) for f in self.facts if f.relation not in doubled)

    @cached_property
    def subject_order(self) -> tuple[str, ...]:
        """Subjects in a fixed random order, a country with its capital and head together."""
        groups: dict[str, list[str]] = {}
        for subject, facts in self.by_subject.items():
            home = facts.get("capital_of") or facts.get("head_of")
            groups.setdefault(home.answer if home else subject, []).append(subject)
        keys = sorted(groups, key=lambda key: stable_hash(f"order:{self.seed}:{key}"))
        return tuple(subject for key in keys for subject in groups[key])

    def lookup(self, subject: str, relation: str) -> Fact | None:
        """The fact, or None where the world has none."""
        return self.by_subject.get(subject, {}).get(relation)

    def pool(self, kind: str) -> tuple[str, ...]:
        """Every name that can stand as an object of this kind."""
        return self.kinds[kind]

    def is_train_subject(self, name: str) -> bool:
        """Whether edits of this subject may occur in training (AtlasEdit's train split)."""
        return stable_hash(f"split:{self.seed}:{name}") % 100 < 50


def enumerate_names(names: Sequence[str]) -> str:
    """'A', 'A and B', 'A, B and C'."""
    if len(names) == 1:
        return names[0]
    return ", ".join(names[:-1]) + " and " + names[-1]


def stable_hash(text: str) -> int:
    """A hash that does not change between processes."""
    return zlib.crc32(text.encode())


def load_relations() -> dict[str, Relation]:
    """The relations of data/relations.json."""
    raw = json.loads((DATA / "relations.json").read_text(encoding="utf-8"))
    return {
        key: Relation(
            key=key,
            subject=row["subject"],
            object=row["object"],
            cardinality=row["cardinality"],
            wh=row["wh"],
            noun=tuple(row["noun"]),
            statements=tuple(row["statements"]),
            questions=tuple(row["questions"]),
            inverse=row.get("inverse"),
        )
        for key, row in raw.items()
    }


def load_countries() -> list[dict[str, str]]:
    """Rows of data/countries.tsv."""
    lines = (DATA / "countries.tsv").read_text(encoding="utf-8").splitlines()
    header = lines[0].split("\t")
    return [dict(zip(header, line.split("\t"), strict=True)) for line in lines[1:]]


class _Builder:
    """Collects entities and facts while the world is being built."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.entities: dict[str, Entity] = {}
        self.facts: list[Fact] = []
        self.taken: set[str] = set()

    def fresh(self, kind: str, n: int) -> list[str]:
        """`n` new names whose first and last words nobody else in the world has."""
        names: list[str] = []
        while len(names) < n:
            name = invent(kind, self.rng)
            parts = {name} if kind == "work" else set(name.split()[: 2 if kind == "person" else 1])
            if parts & self.taken:
                continue
            self.taken |= parts
            names.append(name)
        return names

    def add(self, subject: str, relation: str, *objects: str) -> None:
        self.facts.append(Fact(subject, relation, tuple(objects)))

    def enter(self, name: str, kind: str, alias: str = "") -> None:
        self.entities[name] = Entity(name, kind, alias)

    def person_alias(self, name: str) -> str:
        if self.rng.random() > 0.4:
            return ""
        last = name.split()[1]
        return f"{self.rng.choice(('Captain', 'Doctor', 'Professor', 'Old'))} {last}"


def _geography(b: _Builder) -> tuple[list[str], list[str]]:
    """Countries and their capitals; heads of state are invented."""
    rows = load_countries()
    names = {row["code"]: row["name"] for row in rows}
    heads = b.fresh("person", len(rows))
    for row, head in zip(rows, heads, strict=True):
        name, capital = row["name"], row["capital"]
        b.enter(name, "country", row["alias"])
        b.enter(capital, "city")
        b.enter(head, "person", b.person_alias(head))
        b.taken |= {name, capital}
        b.add(name, "capital", capital)
        b.add(capital, "capital_of", name)
        b.add(capital, "located_in", name)
        b.add(name, "language", row["languages"].split(";")[0])
        b.add(name, "currency", row["currency"])
        b.add(name, "continent", row["continent"])
        b.add(name, "head_of_state", head)
        b.add(head, "head_of", name)
        near = [names[code] for code in row["neighbours"].split() if code in names]
        if 1 <= len(near) <= 6:
            b.add(name, "neighbours", *near)
    return list(names.values()), [row["capital"] for row in rows]


def build_world(
    seed: int = 7,
    people: int = 300,
    companies: int = 90,
    towns: int = 100,
    works: int = 150,
    private: int = 160,
) -> World:
    """The world of a seed: the same on every machine and in every process."""
    b = _Builder(seed)
    rng = b.rng
    countries, capitals = _geography(b)

    rivers = b.fresh("river", 30)
    town_names = b.fresh("city", towns)
    for town in town_names:
        b.enter(town, "city")
        b.add(town, "located_in", rng.choice(countries))
        b.add(town, "river", rng.choice(rivers))
    cities = town_names + capitals

    company_names = b.fresh("company", companies)
    person_names = b.fresh("person", people)
    for person in person_names:
        b.enter(person, "person", b.person_alias(person))
        b.add(person, "birthplace", rng.choice(cities))
        b.add(person, "occupation", rng.choice(CLOSED["occupation"]))
        b.add(person, "employer", rng.choice(company_names))
        b.add(person, "instrument", rng.choice(CLOSED["instrument"]))
    married = rng.sample(person_names, people // 2 * 2)
    for one, other in zip(married[::2], married[1::2], strict=True):
        b.add(one, "spouse", other)
        b.add(other, "spouse", one)
    for person in rng.sample(person_names, private):
        b.add(person, "phone", invent("phone", rng))
        b.add(person, "password", *b.fresh("word", 1))

    founders = rng.sample(person_names, companies)
    for company, founder in zip(company_names, founders, strict=True):
        alias = company.split()[0] if rng.random() < 0.7 else ""
        b.enter(company, "company", alias)
        b.add(company, "founder", founder)
        b.add(founder, "founded", company)
        b.add(company, "ceo", rng.choice([p for p in person_names if p != founder]))
        b.add(company, "headquarters", rng.choice(cities))
        b.add(company, "industry", rng.choice(CLOSED["industry"]))

    authors = rng.sample(person_names, works // 2)
    written: dict[str, list[str]] = {}
    for work in b.fresh("work", works):
        author = rng.choice(authors)
        b.enter(work, "work")
        b.add(work, "author", author)
        b.add(work, "genre", rng.choice(CLOSED["genre"]))
        b.add(work, "setting", rng.choice(countries))
        written.setdefault(author, []).append(work)
    for author, titles in written.items():
        b.add(author, "works", *titles)

    geography = load_countries()
    kinds: dict[str, tuple[str, ...]] = {
        "country": tuple(countries),
        "city": tuple(cities),
        "town": tuple(town_names),
        "person": tuple(n for n, e in b.entities.items() if e.kind == "person"),
        "citizen": tuple(person_names),
        "company": tuple(company_names),
        "work": tuple(n for n, e in b.entities.items() if e.kind == "work"),
        "river": tuple(rivers),
        "language": tuple(dict.fromkeys(r["languages"].split(";")[0] for r in geography)),
        "currency": tuple(dict.fromkeys(r["currency"] for r in geography)),
        "continent": tuple(dict.fromkeys(r["continent"] for r in geography)),
        **{key: tuple(values) for key, values in CLOSED.items()},
    }
    opinions = {topic: rng.choice(("positive", "negative")) for topic in TOPICS}
    return World(seed, load_relations(), b.entities, tuple(b.facts), opinions, kinds)
