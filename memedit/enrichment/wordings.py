"""The other wordings of a prompt's relation, out of the table that the scope classifier learns of.

The table is data of the training's; nothing else of it is loaded here, and no model.
"""

from __future__ import annotations

from collections.abc import Sequence

from memedit.scope.pair_input import HIDDEN
from memedit.scope.training.phrasings import Relation, plain, read_phrasings, ways


class RelationWordings:
    """Finds a prompt's relation by its exact wording.

    Args:
        relations: a table; ``None``: the one that comes with memedit.

    Raises:
        DatasetError: that cannot be read.

    """

    def __init__(self, relations: Sequence[Relation] | None = None) -> None:
        self._relations = read_phrasings() if relations is None else list(relations)
        self._ways = [ways(relation) for relation in self._relations]
        self._found: dict[str, list[tuple[int, int]]] = {}
        for number, texts in enumerate(self._ways):
            seen: set[str] = set()
            for place, text in enumerate(texts):
                key = _key(text)
                if key not in seen:
                    seen.add(key)
                    self._found.setdefault(key, []).append((place, number))

    def others(self, form: str, rewritten: Sequence[str] = ()) -> list[str]:
        """Return the other wordings of the relation that a text asks, ``HIDDEN`` for the subject.

        Nothing where the table does not know the text, or knows it of relations that are not
        said to mean the same.

        Args:
            form: the text.
            rewritten: what asks the same, to be looked for where the text itself is not there.

        """
        for text in (form, *rewritten):
            found = self._found.get(_key(text), [])
            if found and self._same([number for _, number in found]):
                _, relation = min(found)  # the one that it is most at home in
                known = {_key(one) for one in (form, *rewritten)}
                return [one for one in self._ways[relation] if _key(one) not in known]
        return []

    def diverse(self, texts: Sequence[str], chosen: Sequence[str], n: int) -> list[str]:
        """Choose ``n`` texts, each time the one that shares fewest words with those before it.

        ``chosen`` are there already.  Of equally different texts the earlier one is taken.
        """
        sets = [_words(text) for text in texts]
        nearest = [
            max((_shared(words, _words(one)) for one in chosen), default=0.0) for words in sets
        ]
        left = list(range(len(texts)))
        picked: list[str] = []
        while left and len(picked) < n:
            best = min(left, key=lambda i: (nearest[i], i))
            left.remove(best)
            picked.append(texts[best])
            for i in left:
                nearest[i] = max(nearest[i], _shared(sets[i], sets[best]))
        return picked

    def _same(self, numbers: Sequence[int]) -> bool:
        relations = [self._relations[number] for number in numbers]
        return all(
            one is other or one.name in other.overlaps or other.name in one.overlaps
            for one in relations
            for other in relations
        )


def _key(text: str) -> str:
    return plain(text.replace(HIDDEN, "xsubjectx"))


def _words(text: str) -> frozenset[str]:
    return frozenset(_key(text).split()) - {"xsubjectx"}


def _shared(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / max(1, len(one | other))
