"""An edit as one plain sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable

from memedit.incontext.inert import inert, quoted
from memedit.types import Edit, EditRequest, Operation

# words that carry no name, so that their capital is the sentence's and not their own
_PLAIN_FIRST_WORD = re.compile(
    r"(?:All|An?|Any|Both|Each|Either|Every|Her|His|Its|Many|Most|My|Neither|Our|Several|Some"
    r"|That|The|Their|These|This|Those|Your) "
)


def closed(text: str) -> str:
    """End a text with a full stop where no mark ends it."""
    bare = text.rstrip("\"')\u201d\u2019")
    ends = bare.endswith((".", "!", "?", "\u3002", "\uff01", "\uff1f"))
    return text if ends else f"{text}."


def sentence(edit: Edit) -> str:
    """Write ``edit`` as one sentence on one line, capital first and full stop last.

    A statement that somebody wrote is kept in its own words.  A question prompt becomes ``The
    answer to "Q?" is A.``, and an erased fact ``The answer to "Q?" is withheld: reply "I don't
    know".``, with its own target; a cloze is completed by its target.  All of it is made ``inert``.
    """
    return _sentence(edit.request, edit.statement)


def sentence_of(request: EditRequest) -> str:
    """Write a request as ``sentence`` writes an edit."""
    return _sentence(request, request.plain_statement())


def _sentence(request: EditRequest, statement: str) -> str:
    if request.statement is not None:
        text = statement
    elif request.operation is Operation.ERASE:
        told = any(map(str.isalnum, request.target_new))
        safe = request.target_new.rstrip(" .") if told else "I don't know"
        text = f"The answer to {quoted(request.prompt)} is withheld: reply {quoted(safe)}."
    elif request.prompt.endswith("?"):
        text = f"The answer to {quoted(request.prompt)} is {request.target_new}"
    else:
        text = statement
    return closed(inert(text))


def sentences(edits: Iterable[Edit]) -> tuple[str, ...]:
    """Write each of ``edits`` as a sentence, in their order, each fact once."""
    once: dict[str, str] = {}
    for edit in edits:
        text = sentence(edit)
        once.setdefault(text.casefold(), text)
    return tuple(once.values())


def lowered(text: str) -> str:
    """Lower the first letter where it is a capital only because it begins the sentence.

    That is certain of articles and determiners; any other first word may be a name and stays.
    """
    return text[0].lower() + text[1:] if _PLAIN_FIRST_WORD.match(text) else text
