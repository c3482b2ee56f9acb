"""What makes questions for an edit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from memedit.indexes.names import names_of, words_of
from memedit.scope.pair_input import HIDDEN
from memedit.scope.subjects import find_mention
from memedit.types import Edit, EditRequest


@dataclass(frozen=True, slots=True)
class Made:
    """What was made for one edit."""

    texts: tuple[str, ...] = ()
    rejected: int = 0
    """Answers of a model that were not taken."""


class QuestionMaker(ABC):
    """Makes texts that ask what an edit's prompt asks, about the same subject."""

    name: ClassVar[str]
    """What is noted beside the questions, and what the setting calls it."""
    at_once: ClassVar[int]
    """Edits whose questions are stored together."""

    @abstractmethod
    def make(self, edit: Edit) -> Made:
        """Make questions for one edit; none where nothing is safe to make.

        Raises:
            UpstreamError: a model was to be asked, and did not answer.

        """


def hidden_prompt(request: EditRequest) -> tuple[str, str] | None:
    """Return the prompt with ``HIDDEN`` for its subject, and the subject as it stands there.

    ``None`` where it does not stand there whole and once, or where it is all of the prompt (as of
    feedback about a prompt): there is nothing else in it to put in other words.
    """
    prompt = request.prompt
    start = prompt.find(request.subject)
    end = start + len(request.subject)
    if start < 0:
        names = names_of(request.subject, request.aliases)
        mention = find_mention(words_of(prompt), names)
        if mention is None or mention.coverage < 1:
            return None
        start, end = mention.start, mention.end
    name = prompt[start:end]
    form = prompt[:start] + HIDDEN + prompt[end:]
    around = form.replace(HIDDEN, " ")
    if name in around or not words_of(around).words:
        return None
    return form, name
