"""Loads a local checkpoint with transformers, offline, and says by name what is missing."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from memedit.errors import InvalidInputError, MissingResourceError, SettingsError

DTYPES = ("auto", "float32", "bfloat16", "float16")
LENGTH_NAMES = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")
SAMPLING_DEFAULTS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "max_new_tokens",
)
PADDABLE_LAYERS = frozenset({"full_attention", "sliding_attention"})
CACHE_NAMES = ("cache", "past_key_values")
FALLBACK_LENGTH = 2048


@dataclass(frozen=True)
class LoadedModel:
    """A causal language model in memory, with what the engine must know about it."""

    name: str
    """What clients call it."""
    model: Any
    """A transformers ``PreTrainedModel`` with a language-modelling head, in eval mode."""
    tokenizer: Any
    max_length: int
    """Tokens of prompt and answer together."""
    stop_ids: frozenset[int]
    """Tokens that end a sequence: those of generation_config, and the tokenizer's own."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Sampling defaults that the checkpoint's generation_config.json states."""

    @property
    def device(self) -> Any:
        """The ``torch.device`` that the model's inputs must be on."""
        return self.model.device

    @cached_property
    def vocab_size(self) -> int:
        """Rows of the embedding: valid token ids are below it."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    @cached_property
    def keeps_last_logits(self) -> bool:
        """Whether ``forward`` can be told to compute only the last positions' logits."""
        return "logits_to_keep" in inspect.signature(self.model.forward).parameters

    @cached_property
    def cache_name(self) -> str:
        """What ``forward`` and its output call the key-value cache; "" where it keeps none.

        transformers renamed it in 5.24.
        """
        known = inspect.signature(self.model.forward).parameters
        return next((name for name in CACHE_NAMES if name in known), "")

    @cached_property
    def can_be_padded(self) -> bool:
        """Whether sequences of different lengths may share one left-padded cache.

        Needs explicit positions, and a cache that holds nothing but keys and values per token;
        recurrent and chunked layers see their padding, so such models decode one by one.
        """
        config = self.model.config.get_text_config(decoder=True)
        layers = set(getattr(config, "layer_types", None) or ())
        return (
            "position_ids" in inspect.signature(self.model.forward).parameters
            and layers <= PADDABLE_LAYERS
            and not getattr(self.model, "_is_stateful", False)
        )


def need_models_extra() -> None:
    """Check that torch and transformers are installed, without importing them.

    Raises:
        MissingResourceError: names what to install.

    """
    missing = [name for name in ("torch", "transformers") if not importlib.util.find_spec(name)]
    if missing:
        raise MissingResourceError(
            f"the embedded engine needs {' and '.join(missing)}, not installed here; "
            "run: pip install 'memedit[models]'"
        )


def load_model(
    path: Path, *, name: str | None = None, dtype: str = "auto", device: str = "auto"
) -> LoadedModel:
    """Load the checkpoint folder ``path``; nothing is ever downloaded.

    Args:
        path: a folder with config.json, safetensors weights and tokenizer files.
        name: what clients call the model; the folder's own name when left out.
        dtype: ``auto`` is float32 on a CPU, and elsewhere what the checkpoint was saved in.
        device: ``auto`` is the first of cuda, mps and cpu that is there.

    Raises:
        MissingResourceError: the folder, a file in it, the device or a package is not there.
        InvalidInputError: the checkpoint cannot be used for text generation, or a bad argument.

    """
    need_models_extra()
    path = Path(path)
    _check_files(path)
    if dtype not in DTYPES:
        raise SettingsError(f"unknown dtype {dtype!r}; expected one of {', '.join(DTYPES)}")
    from memedit.modeling.loading import load_checkpoint  # torch, only now known to be there

    model, tokenizer = load_checkpoint(path, dtype=dtype, device=device)
    if model.config.is_encoder_decoder:
        raise InvalidInputError(f"{path} is an encoder-decoder model; the engine serves decoders")
    # recurrent models call their state a cache too: they are known by having no attention heads
    heads = getattr(model.config.get_text_config(decoder=True), "num_attention_heads", None)
    if not heads or not set(CACHE_NAMES) & set(inspect.signature(model.forward).parameters):
        raise InvalidInputError(
            f"{path} is a {type(model).__name__}, which keeps no key-value cache; "
            "the engine serves models with attention"
        )
    return LoadedModel(
        name=name or path.resolve().name,
        model=model,
        tokenizer=tokenizer,
        max_length=_max_length(model.config),
        stop_ids=_stop_ids(model, tokenizer),
        defaults=_sampling_defaults(path / "generation_config.json"),
    )


def _check_files(path: Path) -> None:
    """Raise MissingResourceError for the first thing that a checkpoint must have and has not."""
    if not path.is_dir():
        raise MissingResourceError(
            f"no checkpoint folder at {path}; expected a local folder with config.json, "
            "*.safetensors and tokenizer files (nothing is downloaded)"
        )
    if not (path / "config.json").is_file():
        raise MissingResourceError(f"{path} has no config.json, so it is no checkpoint folder")
    index = path / "model.safetensors.index.json"
    if index.is_file():
        try:
            shards = sorted(
                set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            )
        except (ValueError, KeyError, AttributeError, OSError) as error:
            raise InvalidInputError(f"{index} is no index of weights: {error!r}") from error
        lost = [shard for shard in shards if not (path / shard).is_file()]
        if lost:
            raise MissingResourceError(
                f"{path} lacks {len(lost)} of {len(shards)} weight files: {', '.join(lost)}"
            )
    elif not (path / "model.safetensors").is_file():
        raise MissingResourceError(
            f"{path} has no model.safetensors (nor model.safetensors.index.json); "
            "pickled weights are not read: save the checkpoint with safetensors"
        )
    tokenizers = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")
    if not any((path / file).is_file() for file in tokenizers):
        raise MissingResourceError(
            f"{path} has no tokenizer; expected one of {', '.join(tokenizers)}"
        )


def _max_length(config: Any) -> int:
    text = config.get_text_config(decoder=True)
    lengths = [getattr(text, name, None) for name in LENGTH_NAMES]
    return min((n for n in lengths if isinstance(n, int) and n > 0), default=FALLBACK_LENGTH)


def _stop_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    stated = model.generation_config.eos_token_id
    ids = set(stated if isinstance(stated, list) else [stated]) | {tokenizer.eos_token_id}
    return frozenset(int(token) for token in ids if token is not None)


def _sampling_defaults(file: Path) -> dict[str, Any]:
    """Read only what the file states: the defaults of transformers are not the model's wishes."""
    if not file.is_file():
        return {}
    try:
        stated = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidInputError(f"{file} is not valid JSON: {error}") from error
    return {name: stated[name] for name in SAMPLING_DEFAULTS if stated.get(name) is not None}
