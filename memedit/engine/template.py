"""Messages to a prompt, through the checkpoint's own chat template."""

from __future__ import annotations

from typing import Any

from memedit.engine.bodies import TemplateBody
from memedit.engine.faults import ApiFault

OWN_ARGUMENTS = frozenset(
    {"chat_template", "conversation", "tokenize", "return_tensors", "return_dict"}
)
"""Arguments of ``apply_chat_template`` that a client must not set."""


def rendered(tokenizer: Any, body: TemplateBody) -> str:
    """Return the prompt's text, special tokens included as the template writes them.

    Raises:
        ApiFault: 400, the messages cannot be read, or the template refuses them (with its words).

    """
    if body.chat_template is not None:
        raise ApiFault(
            "chat_template cannot be sent with a request; the checkpoint's own is used.",
            param="chat_template",
        )
    asked_for_both = body.continue_final_message and body.add_generation_prompt
    if asked_for_both and "add_generation_prompt" in body.model_fields_set:
        raise ApiFault(
            "continue_final_message and add_generation_prompt exclude each other; set one.",
            param="continue_final_message",
        )
    extra = body.chat_template_kwargs or {}
    if refused := sorted(OWN_ARGUMENTS & extra.keys()):
        raise ApiFault(
            f"chat_template_kwargs may not set {', '.join(refused)}.", param="chat_template_kwargs"
        )
    if not body.messages:
        raise ApiFault("messages is empty; expected at least one.", param="messages")
    if not getattr(tokenizer, "chat_template", None):
        raise ApiFault(
            "The model has no chat template; use /v1/completions, or add chat_template.jinja to "
            "the checkpoint.",
            param="messages",
        )
    messages = [_message(number, message) for number, message in enumerate(body.messages)]
    arguments = {
        **extra,
        "tokenize": False,
        "add_generation_prompt": body.add_generation_prompt and not body.continue_final_message,
        "continue_final_message": body.continue_final_message,
    }
    try:
        text: str = tokenizer.apply_chat_template(messages, **arguments)
    except Exception as error:  # a template is a program: it raises what it likes
        raise ApiFault(
            f"The chat template refuses these messages: {error}", param="messages"
        ) from error
    return text


def _message(number: int, message: dict[str, Any]) -> dict[str, Any]:
    """Return a message with its content as one text; parts are joined by line breaks."""
    where = f"messages[{number}]"
    if not isinstance(message.get("role"), str):
        raise ApiFault(
            f"{where}.role: expected a text, got {message.get('role')!r:.80}", param=where
        )
    content = message.get("content")
    if content is None or isinstance(content, str):
        return {**message, "content": content or ""}
    if not isinstance(content, list):
        raise ApiFault(
            f"{where}.content: expected a text or a list of parts, got {type(content).__name__}",
            param=where,
        )
    return {**message, "content": "\n".join(_part_text(where, part) for part in content)}


def _part_text(where: str, part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        raise ApiFault(
            f"{where}.content: expected parts that are objects, got {type(part).__name__}",
            param=where,
        )
    kind = part.get("type", "text")
    text = part.get("text")
    if kind not in ("text", "input_text", "output_text", "refusal") or not isinstance(text, str):
        raise ApiFault(
            f"{where}.content has a part of type {kind!r:.80}; the embedded engine reads parts "
            "{'type': 'text', 'text': ...} only.",
            param=where,
        )
    return text
