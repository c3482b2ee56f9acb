"""How a plain prompt, and a target after it, become the tokens that a model reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from memedit.errors import InvalidInputError
from memedit.modeling.forms import ChatForm, chat_form
from memedit.modeling.tokens import encode_pair, encode_prompt


class Form(StrEnum):
    """How prompts are put to a model; the same for every method that is compared."""

    AUTO = "auto"
    """A question is a chat turn where the model can chat; anything else is continued."""
    CHAT = "chat"
    COMPLETION = "completion"

    def is_chat(self, prompt: str, *, can_chat: bool = True) -> bool:
        """Tell whether ``prompt`` is put as the user's turn of a chat."""
        if self is Form.AUTO:
            return can_chat and prompt.rstrip().endswith("?")
        return self is Form.CHAT


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids, of which the first ``prompt_length`` are the prompt's."""

    ids: tuple[int, ...]
    prompt_length: int

    @property
    def target(self) -> tuple[int, ...]:
        """The ids of the target."""
        return self.ids[self.prompt_length :]


@dataclass(frozen=True)
class PromptEncoder:
    """Puts prompts into a model's form and tokenises them, with one BOS where the model has one.

    A prompt that is continued gets the special tokens that the tokenizer itself writes; a chat
    turn those of the chat template and no others.  This is what an OpenAI-compatible server does
    with ``/v1/completions`` and ``/v1/chat/completions``.  How a target is joined to its prompt
    is said in ``memedit.modeling``, which the editing methods use as well.
    """

    tokenizer: Any
    form: Form = Form.AUTO

    def __post_init__(self) -> None:
        if self.form is Form.CHAT and not self.can_chat:
            raise InvalidInputError(
                "prompts are to be chat turns, but the checkpoint has no chat template; "
                "use the form completion"
            )

    @property
    def can_chat(self) -> bool:
        """Whether the tokenizer has a chat template."""
        return bool(getattr(self.tokenizer, "chat_template", None))

    def is_chat(self, prompt: str) -> bool:
        """Tell whether ``prompt`` is put as a chat turn."""
        return self.form.is_chat(prompt, can_chat=self.can_chat)

    def encode(self, prompt: str, *, chat: bool | None = None) -> Encoded:
        """Tokenise a prompt; ``chat`` replaces what the form says."""
        ids = encode_prompt(self.tokenizer, prompt, self._form(prompt, chat)).ids
        return Encoded(ids, len(ids))

    def encode_with(self, prompt: str, target: str, *, chat: bool | None = None) -> Encoded:
        """Tokenise a prompt and a target after it, as the model itself would write it.

        Raises:
            InvalidInputError: the target is empty.

        """
        pair = encode_pair(self.tokenizer, prompt, target, self._form(prompt, chat))
        return Encoded(pair.prompt + pair.target, len(pair.prompt))

    @cached_property
    def _chat(self) -> ChatForm:
        return chat_form(self.tokenizer)

    def _form(self, prompt: str, chat: bool | None) -> ChatForm | None:
        return self._chat if (self.is_chat(prompt) if chat is None else chat) else None


def by_length(lengths: Sequence[int], tokens: int, most: int) -> list[list[int]]:
    """Group items of like length: positions, longest first.

    Args:
        lengths: tokens of each item, with those that will be generated.
        tokens: of a group, padding included; a longer item stands alone.
        most: items of a group.

    """
    groups: list[list[int]] = []
    widest = 0
    for place in sorted(range(len(lengths)), key=lambda one: -lengths[one]):
        full = not groups or len(groups[-1]) >= most or (len(groups[-1]) + 1) * widest > tokens
        if full:
            groups.append([])
            widest = lengths[place]
        groups[-1].append(place)
    return groups
