"""Edits that contradict what others imply: a relation's inverse, or a chain of several edits.

*Inverse.*  One edit says that the capital of Quendoria is Lindhaven, another one that the country
whose capital is Lindhaven is Marovia.  Found only of relations that are one to one by their noun,
where at least one of both prompts has a form that is known (see ``relations``).

*Chain.*  See ``chains``.

Who is meant is settled by whole names.  That an edit answers a wording is certain where it is its
prompt or rephrase; else the judge says so, and the conflict is a guess.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from memedit.memory.asking import Judge
from memedit.memory.beside import Asked, Facts, Implied, Known, Seen, answers, differ
from memedit.memory.chains import chains
from memedit.memory.facts import By, name_of, subject_names
from memedit.memory.relations import askings, relation_of, turned
from memedit.types import ConflictKind, Edit, Operation


def implied_conflicts(
    drafts: Sequence[Edit], places: Sequence[int], live: Facts, judge: Judge | None
) -> list[Implied]:
    """Find what new edits contradict by what others imply.

    Args:
        drafts: what is to be written, in this order.
        places: of those among them that are new; what is live already contradicts nothing new.
        live: the live edits.
        judge: asked where the wording alone does not say whether an edit answers a prompt;
            ``None`` finds only what is certain.

    """
    seen = Seen(drafts, places, live)
    own = [
        Known(drafts[place], place)
        for place in places
        if drafts[place].request.operation is not Operation.ERASE
    ]
    turnable = [one for one in own if seen.holds(By.TURNED, one.edit.namespace)]
    chained = [one for one in own if seen.holds(By.COMPOSED, one.edit.namespace)]
    return [*_inverses(turnable, seen, judge), *chains(chained, seen, judge)]


def _inverses(own: Sequence[Known], seen: Seen, judge: Judge | None) -> list[Implied]:
    pairs: list[tuple[Known, Known, Asked]] = []
    for new in own:
        for old, forward, relation in _reversed_pairs(new, seen):
            if relation_of(forward.request) not in (relation, None):
                continue  # its noun says that it is about something else
            wordings = tuple(askings(f"the {relation} of {forward.request.subject}"))
            certain = relation_of(forward.request) == relation
            asked = Asked(() if certain else wordings, forward)
            pairs.append((new, old, asked))
    said = answers([asked for _, _, asked in pairs], judge)
    return [
        Implied(new.earlier or 0, old, (), ConflictKind.INVERSE, None if sure == 1 else sure)
        for (new, old, _), sure in zip(pairs, said, strict=True)
        if sure is not None
    ]


def _reversed_pairs(new: Known, seen: Seen) -> Iterator[tuple[Known, Edit, str]]:
    """Yield edits that may say the inverse: the older one, the one that is not turned, relation."""
    draft = new.edit
    once: set[str] = set()
    relation = turned(draft.request)
    if relation is not None:
        for name in subject_names(draft):
            for old in seen.find(By.ANSWER, new, name):
                if _clash(old, draft, old.edit.request.subject, draft.request.target_new):
                    once.add(old.edit.id)
                    yield old, old.edit, relation
    for old in seen.find(By.TURNED, new, name_of(draft.request.target_new)):
        relation = turned(old.edit.request)
        if relation is None or old.edit.id in once:
            continue
        if _clash(old, draft, draft.request.subject, old.edit.request.target_new):
            yield old, draft, relation


def _clash(old: Known, draft: Edit, owner: str, told: str) -> bool:
    return old.edit.id != draft.id and differ(owner, told)
