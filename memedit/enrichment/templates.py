"""Questions by templates: short rewritings that need no data, and a table of relations' wordings.

A template is tried only on prompts whose grammar it knows; of others it makes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from memedit.enrichment.base import Made, QuestionMaker, hidden_prompt
from memedit.scope.pair_input import HIDDEN
from memedit.types import Edit

if TYPE_CHECKING:
    from memedit.enrichment.wordings import RelationWordings

_REWRITTEN: Final = 4
"""Rewritings at most where the table knows the relation: the rest are its wordings."""

_NOUN = r"(?P<noun>\w[\w' /-]*?)"
_AUX = r"(?P<aux>is|was|are|were)"
_NOUN_FORMS = tuple(
    re.compile(form.replace("{noun}", _NOUN).replace("{aux}", _AUX).replace("{s}", HIDDEN), re.I)
    for form in (
        r"the (?:name of the )?{noun} of {s} {aux}(?: the| an?)?:?",
        r"{s}'s {noun} {aux}(?: the| an?)?:?",
        r"(?:what|who) {aux} the (?:name of the )?{noun} of {s}\s?\??",
        r"(?:what|who) {aux} {s}'s {noun}\s?\??",
        r"(?:tell me|name|give me) the (?:name of the )?{noun} of {s}\.?",
    )
)
_CLAUSES = (
    "that which who whom whose when where is was are were be been has had have did does do can "
    "will and or"
)
_NO_NOUN = frozenset(_CLAUSES.split())
"""A noun phrase with one of these may say more than a noun."""
_LONGEST_NOUN: Final = 6

_PEOPLE = (
    "architect author captain chairman chairperson child coach commander composer creator "
    "daughter designer developer director discoverer editor employer father founder governor head "
    "husband illustrator inventor king leader lyricist manager mayor mother owner painter parent "
    "partner performer president producer publisher queen screenwriter sibling singer son spouse "
    "translator wife winner writer"
)
_PERSONS = frozenset(_PEOPLE.split())
"""Nouns that are asked for with "who"."""

_DONE = (
    "written|directed|founded|created|composed|produced|developed|painted|designed|built|drawn|"
    "discovered|invented|performed|sung|owned|manufactured|made|published|illustrated|translated|"
    "edited|led|run|hosted|recorded|released|employed|maintained|operated"
)
_VERBS: Final = {
    "works": "work",
    "plays": "play",
    "lives": "live",
    "belongs": "belong",
    "stars": "star",
    "studies": "study",
    "teaches": "teach",
    "competes": "compete",
    "serves": "serve",
    "leads": "lead",
    "runs": "run",
    "speaks": "speak",
    "owns": "own",
    "borders": "border",
}
_SLOTS: Final = {
    "aux": "is|was|are|were",
    "done": _DONE,
    "placed": "located|situated|based|headquartered|buried|set",
    "verbs": "|".join(_VERBS),
    "verb": "|".join(_VERBS.values()),
    "for": "for|at|as|in|to|with",
    "where": "where|when",
}
_FAMILIES: Final = (
    ("{s} {aux} married to", "Who {aux} {s} married to?"),
    ("{s} {aux} {done} by", "Who {aux} {s} {done} by?", "By whom {aux} {s} {done}?"),
    ("{s} {aux} {placed} in", "Where {aux} {s} {placed}?"),
    ("{s} {aux} named after", "What {aux} {s} named after?"),
    ("{s} {aux} a citizen of", "Which country {aux} {s} a citizen of?"),
    ("{s} {aux} the capital of", "What {aux} {s} the capital of?"),
    ("{s} {aux} part of", "What {aux} {s} part of?"),
    ("{s} {aux} born in", "{where} {aux} {s} born?"),
    ("{s} died in", "{where} did {s} die?"),
    ("{s} {verbs} {for}", "What does {s} {verb} {for}?"),
)
"""Forms that ask the same; what fills a slot in one fills it in all."""


def _pattern(form: str) -> re.Pattern[str]:
    text = re.escape(form).replace(re.escape("{s}"), HIDDEN)
    for slot, values in _SLOTS.items():
        text = text.replace(re.escape("{" + slot + "}"), f"(?P<{slot}>{values})")
    text = text.removesuffix(r"\?") + (r"\s?\??" if form.endswith("?") else r"(?: the| an?)?:?")
    return re.compile(text, re.IGNORECASE)


_PATTERNS = tuple(tuple(map(_pattern, family)) for family in _FAMILIES)


class Templates(QuestionMaker):
    """Rewrites a prompt by its form, and by the other wordings of its relation.

    Args:
        most: questions for one edit at most.
        wordings: the table of relations; ``None``: the one that comes with memedit, read when it
            is first wanted.

    """

    name = "templates"
    at_once = 64

    def __init__(self, most: int = 8, wordings: RelationWordings | None = None) -> None:
        self._most = most
        self._wordings = wordings

    def make(self, edit: Edit) -> Made:
        """Make questions for one edit; see ``QuestionMaker.make``."""
        found = hidden_prompt(edit.request)
        if found is None:
            return Made()
        form, name = found
        if self._wordings is None:
            from memedit.enrichment.wordings import RelationWordings

            self._wordings = RelationWordings()
        rewritten = rewritings(form, dated=any(map(str.isdigit, edit.request.target_new)))
        others = self._wordings.others(form, rewritten)
        kept = rewritten[:_REWRITTEN] if others else rewritten
        kept = kept[: self._most]
        kept += self._wordings.diverse(others, [form, *kept], self._most - len(kept))
        return Made(tuple(text.replace(HIDDEN, name) for text in kept))


def rewritings(form: str, *, dated: bool = False) -> list[str]:
    """Return what asks the same as ``form`` by its grammar alone; ``HIDDEN`` for the subject.

    >>> rewritings(f"The capital of {HIDDEN} is")[0].replace(HIDDEN, "Zarkania")
    'What is the capital of Zarkania?'

    Args:
        form: a cloze or a question, with ``HIDDEN`` once.
        dated: the answer has digits, so that "was born in" asks for a time, not for a place.

    """
    form = " ".join(form.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").split())
    made = dict.fromkeys([*_by_noun(form), *_by_family(form, dated)])
    return [text for text in made if _bare(text) != _bare(form)]


def _by_noun(form: str) -> Iterator[str]:
    for pattern in _NOUN_FORMS:
        match = pattern.fullmatch(form)
        if match is None:
            continue
        noun = match["noun"]
        words = noun.casefold().split()
        if len(words) > _LONGEST_NOUN or _NO_NOUN.intersection(words):
            continue
        aux = (match.groupdict().get("aux") or "is").lower()
        head = noun.casefold().split(" of ")[0].split()[-1]
        ask = "Who" if head in _PERSONS else "What"
        yield f"{ask} {aux} the {noun} of {HIDDEN}?"
        yield f"{HIDDEN}'s {noun} {aux}"
        yield f"Tell me the {noun} of {HIDDEN}."
        yield f"The {noun} of {HIDDEN} {aux}"
        yield f"{ask} {aux} {HIDDEN}'s {noun}?"
        return


def _by_family(form: str, dated: bool) -> Iterator[str]:
    for family, patterns in zip(_FAMILIES, _PATTERNS, strict=True):
        match = next((found for one in patterns if (found := one.fullmatch(form))), None)
        if match is None:
            continue
        slots = {name: value.lower() for name, value in match.groupdict().items()}
        slots.setdefault("where", "when" if dated else "where")
        if "verbs" in slots:
            slots["verb"] = _VERBS[slots["verbs"]]
        elif "verb" in slots:
            slots["verbs"] = next(many for many, one in _VERBS.items() if one == slots["verb"])
        for other in family:
            text = other.format(s=HIDDEN, **slots)
            yield text[0].upper() + text[1:]


def _bare(text: str) -> Sequence[str]:
    return re.findall(rf"[\w']+|{HIDDEN}", text.casefold())
