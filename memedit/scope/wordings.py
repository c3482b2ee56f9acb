"""What the pair classifier reads of an edit: its wordings, alone and with the new answer."""

from __future__ import annotations

from memedit.indexes.names import names_of, words_of
from memedit.scope.pair_input import HIDDEN
from memedit.scope.subjects import find_mention
from memedit.types import EditRequest, Operation

REPHRASES = 3
"""Stored rephrases of an edit that a prompt is judged beside, at most."""
_LONGEST_ANSWER = 12
"""Words of an answer that is read with the edit: behind a passage nobody sees what is asked."""

Wording = tuple[str, ...]
"""One wording of an edit with its subject hidden: by itself, and followed by the new answer."""


def hidden_edits(request: EditRequest) -> tuple[Wording, ...]:
    """Return an edit's prompt and its first rephrases, the subject hidden in each.

    A prompt that does not name the subject stays whole; a rephrase that does not is left out.  Of
    an erased fact no answer is known, or may be read.
    """
    texts = [_hidden(request.prompt, request) or request.prompt]
    texts += [text for one in request.rephrases[:REPHRASES] if (text := _hidden(one, request))]
    answer = "" if request.operation is Operation.ERASE else request.target_new
    return tuple(with_answer(text, answer) for text in dict.fromkeys(texts))


def with_answer(text: str, answer: str) -> Wording:
    """Put an answer behind a wording; none where there is none, or a long one, such as a passage.

    >>> with_answer("It belongs to", "Chile")
    ('It belongs to', 'It belongs to Chile.')
    >>> with_answer("Where is it?", "Chile")
    ('Where is it?', 'Where is it? Chile')
    """
    answer = answer.strip()
    if not answer or len(answer.split()) > _LONGEST_ANSWER:
        return (text,)
    told = f"{text.rstrip()} {answer}"
    return (text, told if text.endswith("?") or told.endswith((".", "!", "?")) else f"{told}.")


def _hidden(text: str, request: EditRequest) -> str | None:
    mention = find_mention(words_of(text), names_of(request.subject, request.aliases))
    if mention is None:
        return None
    return text[: mention.start] + HIDDEN + text[mention.end :]
