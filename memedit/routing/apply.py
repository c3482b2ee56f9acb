"""Reading the prompts of a body and writing beside them, whatever they are made of."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from memedit.incontext.base import Insertion
from memedit.routing.steps import NeedUpstream, UpstreamReply
from memedit.routing.tokens import Detokenized, Tokenizer
from memedit.routing.wire.base import Prompt, TextPrompt, TokenPrompt
from memedit.routing.wire.block import asked
from memedit.routing.wire.document import Document
from memedit.types import QueryText


@dataclass(frozen=True, slots=True)
class Readable:
    """A prompt with what it asks."""

    prompt: Prompt
    query: QueryText
    detokenized: Detokenized | None = None
    """Where the prompt came as token ids."""


def read_all(
    prompts: Sequence[Prompt], tokenizer: Tokenizer
) -> Generator[NeedUpstream, UpstreamReply, list[Readable]]:
    """Read every prompt; those of token ids through the upstream.

    Raises:
        NotTokenizable: the upstream cannot turn ids into text.

    """
    readable = []
    for prompt in prompts:
        if isinstance(prompt, TextPrompt):
            query = QueryText(
                _speakable(prompt.query.text), tuple(map(_speakable, prompt.query.context))
            )
            readable.append(Readable(prompt, query))
        else:
            detokenized = yield from tokenizer.read(prompt.place.tokens)
            query = QueryText(_speakable(asked(detokenized.text)))
            readable.append(Readable(prompt, query, detokenized))
    return readable


def insert(
    document: Document, one: Readable, insertion: Insertion, tokenizer: Tokenizer
) -> Generator[NeedUpstream, UpstreamReply, bool]:
    """Write ``insertion`` around what ``one`` asks; tell whether there was anything to write.

    Raises:
        NotTokenizable: the upstream cannot turn the text into ids; nothing was written.

    """
    before, after = _speakable(insertion.before), _speakable(insertion.after)
    path = one.prompt.place.path
    if isinstance(one.prompt, TokenPrompt):
        if one.detokenized is None:
            return False
        ids = (yield from tokenizer.write(before)) if before else []
        tail = (yield from tokenizer.write(after)) if after else []
        at = (yield from tokenizer.place(one.detokenized, before, ids)) if ids else 0
        if ids:
            document.insert_ids(path, at, ids)
        if tail:
            document.insert_ids(path, None, tail)
        return bool(ids or tail)
    if before:
        document.insert_text(path, one.prompt.place.start, before)
    if after:
        document.insert_text(path, None, after)
    return bool(before or after)


def _speakable(text: str) -> str:
    """Replace lone surrogates, which JSON can spell and no tokenizer can read."""
    return text.encode("utf-8", "replace").decode("utf-8")
