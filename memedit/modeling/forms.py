"""The forms in which a prompt is put to a model: continued as it stands, or as a chat turn.

``None`` continues a prompt as it stands; any callable renders it into the whole text that the
model sees, special tokens written out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memedit.errors import InvalidInputError

PromptForm = Callable[[str], str]
"""Renders a prompt into the whole text that the model sees, special tokens written out."""
TargetForm = Callable[[str], str]
"""Writes a target as an answer is written: ``lambda t: t + "."``; special tokens as text."""
_MARK = "memedit answers here"


@dataclass(frozen=True, slots=True)
class ChatForm:
    """A prompt as a user turn, through the checkpoint's own chat template."""

    tokenizer: Any
    lead: str
    """What the template writes between its header of an answer and the answer."""
    end: str
    """What it writes after an answer, e.g. ``<|im_end|>``."""

    def __call__(self, prompt: str) -> str:
        """Return the rendered text, up to where the answer begins."""
        return _rendered(self.tokenizer, [{"role": "user", "content": prompt}], ask=True)


@dataclass(frozen=True, slots=True)
class AutoForm:
    """A chat turn for a question, if there is a template; anything else is continued."""

    chat: ChatForm | None

    @classmethod
    def of(cls, tokenizer: Any) -> AutoForm:
        """Read the tokenizer's chat template, if it has one."""
        has = bool(getattr(tokenizer, "chat_template", None))
        return cls(chat_form(tokenizer) if has else None)

    def for_prompt(self, prompt: str) -> ChatForm | None:
        """Return the chat form for what ends with a question mark."""
        return self.chat if prompt.rstrip().endswith("?") else None

    def __call__(self, prompt: str) -> str:
        """Return the rendered text; what is continued stays as it is."""
        form = self.for_prompt(prompt)
        return prompt if form is None else form(prompt)


def form_for(form: PromptForm | None, prompt: str) -> PromptForm | None:
    """Return the form that one prompt is put in, where the form depends on the prompt."""
    return form.for_prompt(prompt) if isinstance(form, AutoForm) else form


def chat_form(tokenizer: Any) -> ChatForm:
    """Read off a tokenizer's chat template how an answer is led in and ended.

    Raises:
        InvalidInputError: it has no chat template, or the template refuses a plain exchange.

    """
    if not getattr(tokenizer, "chat_template", None):
        raise InvalidInputError(
            "the tokenizer has no chat template; ask in completion form, or add "
            "chat_template.jinja to the checkpoint"
        )
    user = {"role": "user", "content": "Hello"}
    asked = _rendered(tokenizer, [user], ask=True)
    whole = _rendered(tokenizer, [user, {"role": "assistant", "content": _MARK}], ask=False)
    before, found, end = whole.partition(_MARK)
    if not found or not before.startswith(asked.rstrip()):
        # Templates that put something else into a prompt than into a history (thinking blocks):
        # the prompt is what counts, and the answer begins right after it.
        return ChatForm(tokenizer, "", end.rstrip("\n") if found else "")
    return ChatForm(tokenizer, before[len(asked) :], end.rstrip("\n"))


def _rendered(tokenizer: Any, messages: Sequence[Mapping[str, str]], *, ask: bool) -> str:
    try:
        text: str = tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=ask
        )
    except Exception as error:  # a template is a program: it raises what it likes
        raise InvalidInputError(f"the chat template refuses a plain exchange: {error}") from error
    return text
