"""From a body's fields, and the checkpoint's defaults, to checked sampling parameters."""

from __future__ import annotations

from typing import Any

from memedit.engine.bodies import GenerationBody
from memedit.engine.faults import ApiFault
from memedit.engine.loading import LoadedModel
from memedit.engine.sampling import SamplingParams

MAX_LOGPROBS = 20


def check_prompt(tokens: list[int], loaded: LoadedModel, *, room: int = 1) -> list[int]:
    """Return the prompt's tokens, checked.

    Args:
        tokens: the prompt.
        loaded: the model that shall read it.
        room: tokens that must be left for the answer at least.

    Raises:
        ApiFault: 400, no token, a token that the model does not know, or too many.

    """
    if not tokens:
        raise ApiFault("The prompt is empty; expected at least one token.", param="prompt")
    if max(tokens) >= loaded.vocab_size:
        raise ApiFault(
            f"Token id {max(tokens)} is out of vocabulary; expected ids below {loaded.vocab_size}.",
            param="prompt",
        )
    if len(tokens) + room > loaded.max_length:
        raise ApiFault(
            f"This model's maximum context length is {loaded.max_length} tokens. However, your "
            f"prompt contains {len(tokens)} input tokens, which leaves no room for output. "
            "Please reduce the length of the input prompt.",
            param="input_tokens",
        )
    return tokens


def sampling_params(
    body: GenerationBody,
    loaded: LoadedModel,
    *,
    prompt_length: int,
    max_tokens: int | None,
    logprobs: int | None,
    prompt_logprobs: int | None = None,
    choice: int = 0,
) -> SamplingParams:
    """Return how one choice for one prompt is generated.

    Args:
        body: what the client asked for; what it left out comes from the checkpoint, then from
            OpenAI's defaults.
        loaded: the model.
        prompt_length: tokens of the prompt.
        max_tokens: as asked for; ``None`` is what is left of the context.
        logprobs: alternatives scored for each new token, ``None`` for no scores.
        prompt_logprobs: the same for the prompt's tokens.
        choice: which of the n choices; each has random numbers of its own.

    Raises:
        ApiFault: 400.

    """
    left = loaded.max_length - prompt_length
    if max_tokens is None:
        max_tokens = min(left, int(loaded.defaults.get("max_new_tokens", left)))
    elif max_tokens > left:
        raise ApiFault(
            f"This model's maximum context length is {loaded.max_length} tokens. However, you "
            f"requested {max_tokens} output tokens and your prompt contains {prompt_length} input "
            "tokens. Please reduce the prompt or max_tokens.",
            param="max_tokens",
        )
    if max(logprobs or 0, prompt_logprobs or 0) > MAX_LOGPROBS:
        raise ApiFault(
            f"{max(logprobs or 0, prompt_logprobs or 0)} log-probabilities a token were asked "
            f"for; at most {MAX_LOGPROBS} can be had.",
            param="logprobs",
        )
    if body.min_tokens > max_tokens > 0:
        raise ApiFault(
            f"min_tokens is {body.min_tokens}, more than max_tokens, {max_tokens}.",
            param="min_tokens",
        )
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    temperature = float(_given(body, "temperature", loaded, 1.0))
    return SamplingParams(
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=float(_given(body, "top_p", loaded, 1.0)),
        top_k=max(0, int(_given(body, "top_k", loaded, 0))),
        min_p=float(_given(body, "min_p", loaded, 0.0)),
        seed=None if body.seed is None else (body.seed + choice) % 2**63,
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        repetition_penalty=float(_given(body, "repetition_penalty", loaded, 1.0)),
        logit_bias=_logit_bias(body, loaded),
        logprobs=logprobs,
        prompt_logprobs=prompt_logprobs,
        stop=stop,
        stop_ids=frozenset(body.stop_token_ids or ()),
        eos_ids=frozenset() if body.ignore_eos else loaded.stop_ids,
        min_tokens=body.min_tokens,
        include_stop=body.include_stop_str_in_output,
        skip_special_tokens=body.skip_special_tokens,
    )


def check_supported(body: GenerationBody) -> None:
    """Refuse what would change the answer and cannot be had here.

    Raises:
        ApiFault: 400.

    """
    if body.response_format is not None and body.response_format.type != "text":
        raise ApiFault(
            f"response_format {body.response_format.type!r} is not supported by the embedded "
            "engine; expected 'text', or serve the model with vLLM.",
            param="response_format",
        )
    for name in ("structured_outputs", "use_beam_search", "prompt_logprobs", "prompt_embeds"):
        if getattr(body, name, None) not in (None, False):
            raise ApiFault(
                f"{name} is not supported by the embedded engine; leave it out, or serve the "
                "model with vLLM.",
                param=name,
            )
    if body.stream_options is not None and not body.stream:
        raise ApiFault("stream_options needs stream=true.", param="stream_options")


def _given(body: GenerationBody, name: str, loaded: LoadedModel, default: float) -> Any:
    asked = getattr(body, name)
    return asked if asked is not None else loaded.defaults.get(name, default)


def _logit_bias(body: GenerationBody, loaded: LoadedModel) -> dict[int, float]:
    bias: dict[int, float] = {}
    for key, value in (body.logit_bias or {}).items():
        token = int(key) if key.isascii() and key.isdigit() and len(key) < 12 else -1
        if not 0 <= token < loaded.vocab_size:
            raise ApiFault(
                f"logit_bias has the key {key[:40]!r}; expected token ids from 0 to "
                f"{loaded.vocab_size - 1}.",
                param="logit_bias",
            )
        bias[token] = min(100.0, max(-100.0, value))
    return bias
