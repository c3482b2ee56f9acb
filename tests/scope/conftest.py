"""Small encoders of every kind that the tests open, made on the spot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from memedit.scope.checkpoint import find_checkpoint

WIDTH, LAYERS, HEADS, INNER, POSITIONS = 16, 2, 2, 32, 64


def tiny_bert(folder: Path, *, pooling: str = "mean", prefix: str = "", **config: Any) -> Path:
    """Write a randomly initialised BERT sentence encoder with MiniLM's tokenizer."""
    source = find_checkpoint("all-MiniLM-L6-v2")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_bytes(source.tokenizer.read_bytes())
    settings = dict(source.config) | {
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": INNER,
        "max_position_embeddings": POSITIONS,
    }
    _write(folder / "config.json", settings | config)
    _write(folder / "sentence_bert_config.json", {"max_seq_length": 32, "do_lower_case": False})
    _write(
        folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "pad_token": "[PAD]"}
    )
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(modules)
    ]
    _write(folder / "modules.json", listed)
    (folder / "1_Pooling").mkdir(exist_ok=True)
    modes = {
        "pooling_mode_cls_token": pooling == "cls",
        "pooling_mode_mean_tokens": pooling == "mean",
        "pooling_mode_max_tokens": pooling == "max",
    }
    _write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": WIDTH} | modes)
    vocabulary = int(source.config["vocab_size"])
    save_file(_weights(vocabulary, prefix), folder / "model.safetensors", {"format": "pt"})
    return folder


def _weights(vocabulary: int, prefix: str) -> dict[str, Any]:
    random = np.random.default_rng(7)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (vocabulary, WIDTH),
        "embeddings.position_embeddings.weight": (POSITIONS, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
        "embeddings.LayerNorm.weight": (WIDTH,),
        "embeddings.LayerNorm.bias": (WIDTH,),
    }
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}"
        for part in ("attention.self.query", "attention.self.key", "attention.self.value"):
            shapes |= {f"{at}.{part}.weight": (WIDTH, WIDTH), f"{at}.{part}.bias": (WIDTH,)}
        for part, out, into in (
            ("attention.output.dense", WIDTH, WIDTH),
            ("intermediate.dense", INNER, WIDTH),
            ("output.dense", WIDTH, INNER),
        ):
            shapes |= {f"{at}.{part}.weight": (out, into), f"{at}.{part}.bias": (out,)}
        for part in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{at}.{part}.weight": (WIDTH,), f"{at}.{part}.bias": (WIDTH,)}
    return {
        prefix + name: random.normal(1.0 if "Norm.weight" in name else 0.0, 0.3, shape).astype(
            np.float32
        )
        for name, shape in shapes.items()
    }


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


@pytest.fixture
def bert_folder(tmp_path: Path) -> Path:
    """Return the folder of a tiny BERT encoder with mean pooling."""
    return tiny_bert(tmp_path / "bert")
