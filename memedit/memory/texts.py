"""Which texts of an edit are encoded: what a prompt that it concerns may look like."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from memedit.memory.inverse import inverse_of
from memedit.types import EditRequest

INVERSE = "inverse"
"""The kind of texts that ask an edit from its other end: for its subject, by its target."""


@dataclass(frozen=True, slots=True)
class EditText:
    """One text by which an edit can be found."""

    kind: str
    """``prompt``, ``statement``, ``rephrase``, ``alias`` or ``inverse``."""
    text: str


def texts_of(request: EditRequest) -> tuple[EditText, ...]:
    """Return the texts to encode, each once: ``own_texts``, and those that ask in reverse."""
    inverse = inverse_of(request)
    if inverse is None:
        return own_texts(request)
    reverse = [EditText(INVERSE, text) for text in (inverse.prompt, *inverse.rephrases)]
    return _once([*own_texts(request), *reverse])


def own_texts(request: EditRequest) -> tuple[EditText, ...]:
    """Return the texts that ask for the target, each once: prompt, statement, rephrases, by alias.

    An alias stands in the prompt in place of the subject; where the prompt does not name the
    subject, aliases add nothing.
    """
    prompt, subject = request.prompt, request.subject
    texts = [EditText("prompt", prompt), EditText("statement", request.plain_statement())]
    texts += [EditText("rephrase", rephrase) for rephrase in request.rephrases]
    if subject in prompt:
        texts += [EditText("alias", prompt.replace(subject, name)) for name in request.aliases]
    return _once(texts)


def _once(texts: Iterable[EditText]) -> tuple[EditText, ...]:
    unique: dict[str, EditText] = {}
    for text in texts:
        unique.setdefault(text.text, text)
    return tuple(unique.values())
