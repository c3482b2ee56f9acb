"""Tiny random models of every family, and tokenizers of several kinds, made in memory."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

FAMILIES = (
    *("llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3", "phi", "phi3"),
    *("gpt2", "gptj", "gpt_neox", "opt", "opt_350m"),
)
LAYERS = 3
_SIZES: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
_GPT2: dict[str, Any] = {
    **{"vocab_size": 300, "n_embd": 32, "n_layer": LAYERS, "n_head": 2, "n_positions": 256},
    **{"bos_token_id": 0, "eos_token_id": 1},
}
_OPT: dict[str, Any] = {**_SIZES, "ffn_dim": 48, "word_embed_proj_dim": 32}
_CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", _SIZES),
    "qwen2": ("Qwen2Config", _SIZES),
    "qwen3": ("Qwen3Config", _SIZES),
    "mistral": ("MistralConfig", _SIZES),
    "gemma": ("GemmaConfig", _SIZES),
    "gemma2": ("Gemma2Config", _SIZES),
    "gemma3": ("Gemma3TextConfig", _SIZES),
    "phi": ("PhiConfig", _SIZES),
    "phi3": ("Phi3Config", _SIZES),
    "gpt2": ("GPT2Config", _GPT2),
    "gptj": ("GPTJConfig", {**_GPT2, "rotary_dim": 8}),
    "gpt_neox": ("GPTNeoXConfig", _SIZES),
    "opt": ("OPTConfig", _OPT),
    "opt_350m": (
        "OPTConfig",
        {**_OPT, "word_embed_proj_dim": 16, "do_layer_norm_before": False},
    ),
}


def tiny_model(family: str, dtype: torch.dtype = torch.float32) -> Any:
    """Make a model of the family with random weights, always the same ones, in eval mode."""
    name, sizes = _CONFIGS[family]
    config = getattr(transformers, name)(**sizes)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = transformers.AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():  # livelier than at initialisation
            if parameter.ndim == 2:
                torch.nn.init.normal_(parameter, std=0.2)
    return model.to(dtype).eval()


def tiny_tokenizer(*, bos: bool = True, eos: bool = False, trim: bool = True) -> Any:
    """Make a byte-level tokenizer with words of its own, as GPT-2's and Llama 3's are."""
    special = ["<s>", "</s>", "<pad>", "<|turn|>"]
    words = ["ĠParis", "Paris", "ĠRome", "ĠFrance", "ĠLy", "on"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary: dict[str, int] = {}
    for token in [*special, *letters]:
        vocabulary.setdefault(token, len(vocabulary))
    merges: list[tuple[str, str]] = []
    for word in words:
        made = word[0]
        for letter in word[1:]:
            merges.append((made, letter))
            made += letter
            vocabulary.setdefault(made, len(vocabulary))
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=trim)
    backend.decoder = decoders.ByteLevel()
    single = f"{'<s> ' if bos else ''}$A{' </s>' if eos else ''}"
    backend.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=trim),
            processors.TemplateProcessing(single=single, special_tokens=[("<s>", 0), ("</s>", 1)]),
        ]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=["<|turn|>"],
    )
