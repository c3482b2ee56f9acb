"""Which texts of an edit are encoded: what a prompt that it concerns may look like."""

from __future__ import annotations

from dataclasses import dataclass

from memedit.types import EditRequest


@dataclass(frozen=True, slots=True)
class EditText:
    """One text by which an edit can be found."""

    kind: str
    """``prompt``, ``statement``, ``rephrase`` or ``alias``."""
    text: str


def texts_of(request: EditRequest) -> tuple[EditText, ...]:
    """Return the texts to encode, each once: prompt, statement, rephrases, prompt by alias.

    An alias stands in the prompt in place of the subject; where the prompt does not name the
    subject, aliases add nothing.
    """
    prompt, subject = request.prompt, request.subject
    texts = [EditText("prompt", prompt), EditText("statement", request.plain_statement())]
    texts += [EditText("rephrase", rephrase) for rephrase in request.rephrases]
    if subject in prompt:
        texts += [EditText("alias", prompt.replace(subject, name)) for name in request.aliases]
    unique: dict[str, EditText] = {}
    for text in texts:
        unique.setdefault(text.text, text)
    return tuple(unique.values())
