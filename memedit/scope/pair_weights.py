"""The file of the pair classifier's weights: matrices in eight bits, computed with in float32.

Eight bits are for the file's size alone.  Arithmetic in eight bits would take its scale from all
rows of a batch, so that a decision depended on what else was asked at the moment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import save_file

from memedit.scope.pair_graph import PairWriter

Array = npt.NDArray[Any]

NETWORK: Final = (
    "hidden_size",
    "intermediate_size",
    "layer_norm_eps",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "type_vocab_size",
    "vocab_size",
)
"""What of a BERT's configuration its graph depends on."""
_SCALE = ".scale"


def write_weights(file: Path, config: Mapping[str, Any], weights: Mapping[str, Array]) -> None:
    """Write weights under transformers' names; a matrix is rounded, each row to its own scale.

    Args:
        file: the safetensors file to write.
        config: the network's configuration (see ``NETWORK``).
        weights: float arrays.

    """
    tensors: dict[str, Array] = {}
    for name, weight in weights.items():
        if weight.ndim != 2:
            tensors[name] = np.ascontiguousarray(weight, dtype=np.float32)
            continue
        scale = np.maximum(np.abs(weight).max(axis=1, keepdims=True), 1e-12) / 127
        tensors[name] = np.round(weight / scale).astype(np.int8)
        tensors[name + _SCALE] = scale.astype(np.float32)
    network = {name: config[name] for name in NETWORK if name in config}
    save_file(tensors, file, metadata={"network": json.dumps(network, sort_keys=True)})


def read_weights(file: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the configuration and the weights, float32, that ``write_weights`` wrote."""
    with safe_open(file, framework="numpy") as opened:
        network: dict[str, Any] = json.loads(opened.metadata()["network"])
        read = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    return network, {
        name: value * read[name + _SCALE] if name + _SCALE in read else value
        for name, value in read.items()
        if not name.endswith(_SCALE)
    }


def read_graph(file: Path) -> bytes:
    """Return the ONNX graph of a file's weights, serialised."""
    content: bytes = PairWriter(*read_weights(file)).model().SerializeToString()
    return content
