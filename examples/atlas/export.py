"""Writes a checkpoint that transformers and vLLM load like any other Llama."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from examples.atlas import formats as fm
from examples.atlas.network import Shape
from examples.atlas.tokenizer import save_tokenizer

MODEL = Path(__file__).parent / "model"


def export(
    weights: dict[str, Tensor],
    shape: Shape,
    tokenizer: Tokenizer,
    folder: Path = MODEL,
    progress: dict[str, float] | None = None,
) -> None:
    """Writes config, bfloat16 weights, tokenizer, chat template and generation config.

    `progress` (step, tokens, the share of the world's subjects trained on) goes into
    training.json, so that tests and evaluations know what the weights can know.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ids = {name: tokenizer.token_to_id(name) for name in fm.SPECIALS}
    ends = [ids[fm.EOS], ids[fm.END]]
    config = {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": ids[fm.BOS],
        "eos_token_id": ends,
        "pad_token_id": ids[fm.PAD],
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "hidden_size": shape.width,
        "initializer_range": 0.02,
        "intermediate_size": shape.hidden,
        "max_position_embeddings": shape.context,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.heads,
        "rms_norm_eps": shape.eps,
        "rope_parameters": {"rope_theta": shape.rope_theta, "rope_type": "default"},
        "rope_theta": shape.rope_theta,
        "tie_word_embeddings": True,
        "dtype": "bfloat16",
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": shape.vocab,
    }
    generation = {
        "bos_token_id": ids[fm.BOS],
        "eos_token_id": ends,
        "pad_token_id": ids[fm.PAD],
        "do_sample": False,
    }
    _write(folder / "config.json", config)
    _write(folder / "generation_config.json", generation)
    save_tokenizer(tokenizer, folder)
    _write(folder / "training.json", progress or {})
    tensors = {
        name: value.detach().to("cpu", torch.bfloat16).contiguous()
        for name, value in weights.items()
    }
    part = folder / "model.safetensors.part"
    save_file(tensors, part, metadata={"format": "pt"})
    part.chmod(0o644)
    part.replace(folder / "model.safetensors")


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
