"""What clients send: the bodies of the engine's routes; fields not named here are ignored."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError
from starlette.requests import ClientDisconnect, Request

from memedit.engine.faults import ApiFault

TokenIds = list[Annotated[StrictInt, Field(ge=0, le=2**63 - 1)]]
Stop = Annotated[StrictStr, Field(min_length=1, max_length=1_024)]
B = TypeVar("B", bound="Body")


class Body(BaseModel):
    """Base of all bodies."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    model: str | None = None


class StreamOptions(Body):
    """How to stream."""

    include_usage: bool | None = False
    continuous_usage_stats: bool | None = False


class ResponseFormat(Body):
    """The form that the answer must have; only text can be had here."""

    type: str


class GenerationBody(Body):
    """What chat and completions share."""

    n: int | None = Field(1, ge=1, le=128)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    stop: Stop | Annotated[list[Stop], Field(max_length=64)] | None = None
    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, gt=0, le=1)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[str, float] | None = None
    # Beyond OpenAI's parameters: vLLM's.
    top_k: int | None = Field(None, ge=-1)
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, ge=0.01, le=100)
    stop_token_ids: TokenIds | None = None
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    min_tokens: int = Field(0, ge=0)
    skip_special_tokens: bool = True
    return_token_ids: bool | None = None
    # Read only to say that they cannot be had.
    response_format: ResponseFormat | None = None
    structured_outputs: Any = None
    use_beam_search: bool | None = None
    prompt_logprobs: int | None = None


class CompletionBody(GenerationBody):
    """POST /v1/completions."""

    prompt: StrictStr | TokenIds | list[StrictStr] | list[TokenIds] | None = None
    max_tokens: int | None = Field(16, ge=0)
    echo: bool | None = False
    logprobs: int | None = Field(None, ge=0)
    suffix: str | None = None
    prompt_embeds: Any = None
    add_special_tokens: bool = True


class TemplateBody(Body):
    """Messages, and how they become a prompt."""

    messages: list[dict[str, Any]]
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    add_special_tokens: bool = False
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class ChatBody(TemplateBody, GenerationBody):
    """POST /v1/chat/completions."""

    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = False
    top_logprobs: int | None = Field(None, ge=0)
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    tool_choice: Any = None


class TokenizeTextBody(Body):
    """POST /tokenize, of a text."""

    prompt: StrictStr
    add_special_tokens: bool = True
    return_token_strs: bool | None = False


class TokenizeChatBody(TemplateBody):
    """POST /tokenize, of messages."""

    return_token_strs: bool | None = False


class DetokenizeBody(Body):
    """POST /detokenize."""

    tokens: TokenIds


async def read_body(request: Request, kind: type[B]) -> B:
    """Read the request's body.

    Raises:
        ApiFault: 400, naming the first field that is not as it should be.

    """
    try:
        raw = await request.body()
    except ClientDisconnect as gone:
        raise ApiFault("the client went away before its request was read", status=499) from gone
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False, include_context=False)
        # A union reports every alternative; the field is the same in all of them.
        where = ".".join(str(step) for step in faults[0]["loc"][:1])
        said = "; ".join(dict.fromkeys(fault["msg"] for fault in faults[:4]))
        raise ApiFault(f"{where or 'the body'}: {said}", param=where or None) from None


def check_model(body: Body, name: str) -> None:
    """Check that the body asks for the served model, or for none in particular.

    Raises:
        ApiFault: 404.

    """
    if body.model not in (None, "", name):
        raise ApiFault(
            f"The model `{body.model}` does not exist; this engine serves `{name}`.",
            status=404,
            param="model",
        )
