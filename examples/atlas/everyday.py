"""Relations that Atlas knows nothing of, for contexts alone: products, rules, services, places.

A context is to be followed whatever it speaks of. With the world's 26 relations alone a model
learns which answers belong to them; among 246 more it has to look. Their wordings are those that
the scope classifier is trained on (memedit/scope/training); none is one of the world's.
"""

from __future__ import annotations

import json
from pathlib import Path

from examples.atlas.world import HELD_OUT_PHRASINGS, Relation, stable_hash

TABLE = Path(__file__).parents[2] / "memedit" / "scope" / "training" / "everyday_phrasings.json"
NAMED_LIKE = (
    ("person", ("employee", "client", "player", "athlete", "character", "provider")),
    ("work", ("film", "book", "song", "album", "game", "show", "series", "match", "theorem")),
    ("country", ("country", "territory", "parliament")),
    ("city", ("place", "airport", "town", "lake", "volcano", "bridge", "building")),
    ("company", ("company", "shop", "bank", "university", "school", "department", "hotel")),
)
"""The kind of names for subjects that are called one of these words; others are told by chance."""
ANSWERS = ("city", "person", "company", "work", "phone", "country", "language", "password")


def everyday_relations() -> dict[str, tuple[Relation, tuple[str, ...]]]:
    """key -> (relation, some of its usual answers); for drawing facts about strangers."""
    out: dict[str, tuple[Relation, tuple[str, ...]]] = {}
    for key, row in json.loads(TABLE.read_text(encoding="utf-8")).items():
        statements = [f"{clause} {{o}}." for clause in row["clauses"]]
        questions = row["questions"]
        # The last of a relation's phrasings never train; here all may.
        spare = HELD_OUT_PHRASINGS
        relation = Relation(
            key=f"everyday:{key}",
            subject=_kind(key, row["about"]),
            object=ANSWERS[stable_hash(f"answer:{key}") % len(ANSWERS)],
            cardinality="many-to-one",
            wh="What is",
            noun=tuple(f"the {noun} of {{s}}" for noun in row["nouns"]),
            statements=(*statements, *statements[-spare:]),
            questions=(*questions, *questions[-spare:]),
        )
        out[relation.key] = relation, tuple(row["objects"])
    return out


def _kind(key: str, about: str) -> str:
    for kind, words in NAMED_LIKE:
        if any(word in about for word in words):
            return kind
    return ("company", "work", "password")[stable_hash(f"subject:{key}") % 3]
