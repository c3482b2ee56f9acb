"""Questions by the served model itself: it is shown two examples, and trusted with nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from memedit.enrichment.asking import Ask
from memedit.enrichment.base import Made, QuestionMaker, hidden_prompt
from memedit.errors import UpstreamError
from memedit.indexes.names import names_of, words_of
from memedit.routing.steps import NeedUpstream
from memedit.scope.base import Encoder, ScopeClassifier, ScopeInput
from memedit.scope.subjects import find_mention
from memedit.types import Candidate, Edit, EditRequest, QueryText, ScopeLabel

TIMEOUT: Final = 60.0
"""Seconds for one answer."""
_TOKENS_EACH: Final = 40
_MOST_TOKENS: Final = 1_024
_LONGEST: Final = 300
"""Characters of a question that is taken."""

_INSTRUCTION = (
    "Write {n} other ways to ask the same thing about {subject}. Keep the name {subject} as it is. "
    "Do not answer. One per line.\nThe prompt: {prompt}"
)
_EXAMPLES = (
    (
        "The author of The Silent Harbour is",
        "The Silent Harbour",
        (
            "Who wrote The Silent Harbour?",
            "The Silent Harbour was written by",
            "Which writer is behind The Silent Harbour?",
        ),
    ),
    (
        "In which city was Mirela Dant born?",
        "Mirela Dant",
        (
            "Mirela Dant was born in the city of",
            "What is Mirela Dant's place of birth?",
            "Where did Mirela Dant come into the world?",
        ),
    ),
)
_LEAD = re.compile(r"^\s*(?:(?:[-*\u2022]|\(?\d{1,2}[.):])\s+)?")
_QUOTES = "\"'`\u201c\u201d\u2018\u2019 "


class ModelQuestions(QuestionMaker):
    """Asks a chat model for paraphrases of an edit's prompt.

    An answer is taken only if it names the subject whole, is no copy, and the scope classifier
    says that it asks what the edit answers: a weak model adds nothing, rather than something wrong.
    The answers go by the model's own words, without edits; of the edit it sees the prompt alone.

    Args:
        ask: sends a request to the served model.
        encoder: the memory's.
        classifier: the one that judges requests.
        most: paraphrases to ask for.
        model: the model's name; ``None``: the first that the upstream lists.

    """

    name = "model"
    at_once = 1

    def __init__(
        self,
        ask: Ask,
        encoder: Encoder,
        classifier: ScopeClassifier,
        *,
        most: int = 8,
        model: str | None = None,
    ) -> None:
        self._ask = ask
        self._encoder = encoder
        self._classifier = classifier
        self._most = most
        self._model = model

    def make(self, edit: Edit) -> Made:
        """Ask for paraphrases of one edit's prompt; see ``QuestionMaker.make``."""
        request = edit.request
        if hidden_prompt(request) is None:
            return Made()
        if self._model is None:
            self._model = self._first_model()
        body = {
            "model": self._model,
            "messages": messages(request, self._most),
            "max_tokens": min(_MOST_TOKENS, _TOKENS_EACH * self._most),
            "temperature": 0.0,
        }
        reply = self._ask(
            NeedUpstream("POST", "/v1/chat/completions", json.dumps(body).encode(), TIMEOUT)
        )
        said = lines(_content(reply.status, reply.body))
        kept = self._concerned(edit, self._fit(request, said))
        return Made(tuple(kept[: self._most]), len(said) - len(kept))

    def _first_model(self) -> str:
        reply = self._ask(NeedUpstream("GET", "/v1/models", b"", TIMEOUT))
        _check(reply.status)
        try:
            cards = json.loads(reply.body)["data"]
            return next(str(card["id"]) for card in cards if card.get("parent") is None)
        except (ValueError, LookupError, TypeError, AttributeError, StopIteration) as error:
            raise UpstreamError(
                "the upstream lists no model; set memory.enrich_model to the name of one"
            ) from error

    def _fit(self, request: EditRequest, said: Sequence[str]) -> list[str]:
        """Return the answers that name the subject, and are no copies."""
        names = names_of(request.subject, request.aliases)
        known = {
            words_of(text).words
            for text in (request.prompt, request.plain_statement(), *request.rephrases)
        }
        fit = []
        for text in said:
            words = words_of(text)
            if len(text) > _LONGEST or words.words in known:
                continue
            mention = find_mention(words, names)
            if mention is None or mention.coverage < 1:
                continue
            known.add(words.words)
            fit.append(text)
        return fit

    def _concerned(self, edit: Edit, texts: Sequence[str]) -> list[str]:
        """Return the texts that the scope classifier holds to ask what the edit answers."""
        if not texts:
            return []
        prompt = edit.request.prompt
        vectors = self._encoder.encode([prompt, *texts])
        inputs = [
            ScopeInput(
                QueryText(text),
                (Candidate(edit, float(similarity), prompt, named=True),),
            )
            for text, similarity in zip(texts, vectors[1:] @ vectors[0], strict=True)
        ]
        judged = self._classifier.classify(inputs)
        return [
            text
            for text, [decision] in zip(texts, judged, strict=True)
            if decision.label is ScopeLabel.DIRECT
            and decision.probability >= self._classifier.threshold
        ]


def messages(request: EditRequest, n: int) -> list[dict[str, str]]:
    """Return the conversation that asks for ``n`` paraphrases; some refuse a system turn."""
    turns = []
    for prompt, subject, answers in _EXAMPLES:
        turns += [_asked(prompt, subject, len(answers)), ("assistant", "\n".join(answers))]
    turns.append(_asked(request.prompt, request.subject, n))
    return [{"role": role, "content": content} for role, content in turns]


def _asked(prompt: str, subject: str, n: int) -> tuple[str, str]:
    return "user", _INSTRUCTION.format(n=n, subject=subject, prompt=prompt)


def lines(content: str) -> list[str]:
    """Split a model's answer into lines, without numbers, bullets and quotation marks."""
    return list(_lines(content))


def _lines(content: str) -> Iterator[str]:
    for line in content.splitlines():
        text = _LEAD.sub("", line).strip(_QUOTES)
        if text:
            yield " ".join(text.split())


def _content(status: int, body: bytes) -> str:
    _check(status)
    try:
        content: Any = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError) as error:
        raise UpstreamError("the upstream's answer is no chat completion") from error
    if not isinstance(content, str):
        raise UpstreamError("the upstream's chat completion holds no text")
    return content


def _check(status: int) -> None:
    if status != 200:  # what it says may quote the prompt
        raise UpstreamError(f"the upstream answered with status {status}")
