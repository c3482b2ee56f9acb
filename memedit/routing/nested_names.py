"""Names within names: an edit whose name stands in a prompt only as a part of a longer one.

"Who founded Shingon Buddhism?" names Shingon Buddhism and nothing else, though the name of Buddhism
stands in it.  Of the edits that concern a prompt the longest name wins, as in a dictionary look-up.
No other names are known here than those of edits: one that no edit is about wins nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from memedit.memory.asking import asked_by, prompts_of
from memedit.routing.contradicting import LeftOut, Why, joins_questions
from memedit.scope.name_spans import Span, as_words, inside, name_spans
from memedit.scope.query import search_texts
from memedit.types import Edit, Operation, QueryText, ScopeDecision


def inside_longer(query: QueryText, concerned: Sequence[ScopeDecision]) -> tuple[LeftOut, ...]:
    """Return the edits whose names stand only within longer names, each with the longest of these.

    None of them is left out where it is an erasure, where the prompt is literally its own, where
    the two edits share a name (they are about one subject), or where the prompt joins questions,
    each of which may be meant by one of the names ("Where was Barack Obama born, and who is his
    wife?" beside an edit of Obama).

    Args:
        query: what is asked; where it leans on the turns before it, names are looked for there too.
        concerned: the edits that concern it.

    """
    edits = [one.candidate.edit for one in concerned]
    names = {edit.ref: as_words(_written(edit)) for edit in edits}
    if len(set(names.values())) < 2:
        return ()  # most often all are about one subject
    texts = search_texts(query)
    spans = {
        edit.ref: [name_spans(text, edit.request.subject, edit.request.aliases) for text in texts]
        for edit in edits
    }
    asked = asked_by(query.text)
    out = []
    for edit in edits:
        if edit.request.operation is Operation.ERASE or asked in prompts_of(edit):
            continue
        longer = [
            other
            for other in edits
            if names[edit.ref].isdisjoint(names[other.ref])
            and _within(spans[edit.ref], spans[other.ref])
        ]
        if not longer:
            continue
        by = max(longer, key=lambda one: max(end - start for start, end in _all(spans[one.ref])))
        if not joins_questions(query.text, (*_written(edit), *_written(by))):
            out.append(LeftOut(edit.ref, by.ref, Why.LONGER_NAME))
    return tuple(out)


def _written(edit: Edit) -> tuple[str, ...]:
    return (edit.request.subject, *edit.request.aliases)


def _within(short: Sequence[Sequence[Span]], long: Sequence[Sequence[Span]]) -> bool:
    """Tell whether the one is named, and in every text only within a longer name of the other."""
    return bool(_all(short)) and all(
        any(inside(span, longer) for longer in theirs)
        for own, theirs in zip(short, long, strict=True)
        for span in own
    )


def _all(spans: Sequence[Sequence[Span]]) -> list[Span]:
    return [span for each in spans for span in each]
