"""The ONNX graph of a BERT sentence encoder, made straight from its weights; no torch.

The graph takes token ids and gives unit vectors: embeddings, attention blocks, pooling and
normalisation.  It is written with the fused operators of ONNX Runtime, so that what runs does not
depend on which patterns a version of its optimiser happens to recognise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from memedit.errors import MissingResourceError
from memedit.scope.checkpoint import Checkpoint

if TYPE_CHECKING:
    import onnx

VERSION = 1
"""Part of every encoder's identity: raise it when the graph computes something else."""

FUSED = "com.microsoft"
OPSET = 17
IR_VERSION = 8

Array = npt.NDArray[Any]


def unsupported(checkpoint: Checkpoint) -> str | None:
    """Return why this builder cannot express the model, or ``None`` if it can."""
    config = checkpoint.config
    if config.get("model_type") != "bert":
        return f"its architecture is {config.get('model_type')!r}, not 'bert'"
    if config.get("position_embedding_type", "absolute") != "absolute":
        return f"its positions are {config['position_embedding_type']!r}, not 'absolute'"
    if config.get("hidden_act") != "gelu":
        return f"its activation is {config.get('hidden_act')!r}, not 'gelu'"
    if config.get("is_decoder") or config.get("add_cross_attention"):
        return "it is a decoder"
    if pooling(checkpoint) is None:
        modules = " + ".join(kind for kind, _ in checkpoint.modules)
        return f"its modules are {modules}, not Transformer + Pooling (mean or cls) + Normalize"
    if checkpoint.default_prompt is not None:
        return f"it puts the prompt {checkpoint.default_prompt!r} before every text"
    for path in (checkpoint.weights, checkpoint.tokenizer):
        if not path.is_file():
            return f"its folder holds no {path.name}"
    return None


def pooling(checkpoint: Checkpoint) -> str | None:
    """Return ``"mean"`` or ``"cls"``, or ``None`` for modules that this builder cannot express.

    A model without Normalize is accepted: an encoder's vectors have length 1 in any case.
    """
    kinds = tuple(kind for kind, _ in checkpoint.modules)
    if kinds not in (("Transformer", "Pooling"), ("Transformer", "Pooling", "Normalize")):
        return None
    config = checkpoint.modules[1][1]
    mode = config.get("pooling_mode")
    if mode is None:
        chosen = [name for name, value in config.items() if "pooling_mode_" in name and value]
        mode = chosen[0] if len(chosen) == 1 else None
    known = {
        "mean": "mean",
        "cls": "cls",
        "pooling_mode_mean_tokens": "mean",
        "pooling_mode_cls_token": "cls",
    }
    return known.get(mode) if isinstance(mode, str) else None


def build(checkpoint: Checkpoint) -> onnx.ModelProto:
    """Write the graph: ``ids``, ``mask`` int32 [batch, tokens] -> ``vectors`` float32 [batch, dim].

    Raises:
        MissingResourceError: the weights file lacks a tensor of the architecture.

    """
    weights = _read_weights(checkpoint)
    try:
        return _EncoderWriter(checkpoint, weights).model()
    except KeyError as error:
        raise MissingResourceError(
            f"encoder {checkpoint.name!r}: {checkpoint.weights} lacks the tensor {error}; "
            "copy the model again"
        ) from error


def _read_weights(checkpoint: Checkpoint) -> dict[str, Array]:
    """Read all tensors as float32, without the prefix of a model that wraps the encoder."""
    from safetensors import SafetensorError, safe_open

    weights: dict[str, Array] = {}
    try:
        with safe_open(str(checkpoint.weights), framework="np") as file:
            for name in file.keys():  # noqa: SIM118 (not a mapping)
                tensor = file.get_tensor(name)
                if tensor.dtype.kind == "f":
                    weights[name.removeprefix("bert.")] = tensor.astype(np.float32)
    except (SafetensorError, OSError, TypeError, AttributeError) as error:
        raise MissingResourceError(
            f"encoder {checkpoint.name!r}: {checkpoint.weights} cannot be read ({error}); "
            "copy the model again, or set encoder.runtime to 'torch'"
        ) from error
    return weights


class BertWriter:
    """Collects nodes and constants of a BERT's blocks in the order in which they are computed."""

    def __init__(self, config: Mapping[str, Any], weights: Mapping[str, Array]) -> None:
        self._config = config
        self._weights = weights
        self._epsilon = float(config.get("layer_norm_eps", 1e-12))
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def _block(self, layer: int, hidden: str) -> str:
        """One transformer block; [batch, tokens, width] -> the same."""
        at = f"encoder.layer.{layer}"
        parts = [f"{at}.attention.self.{part}" for part in ("query", "key", "value")]
        weight = np.concatenate([self._weights[f"{part}.weight"].T for part in parts], axis=1)
        bias = np.concatenate([self._weights[f"{part}.bias"] for part in parts])
        attended = self._node(
            "Attention",
            [
                hidden,
                self._constant(f"{at}.qkv.weight", weight),
                self._constant(f"{at}.qkv.bias", bias),
                "mask",
            ],
            [f"{at}.attended"],
            domain=FUSED,
            num_heads=int(self._config["num_attention_heads"]),
        )
        hidden = self._dense_and_norm(f"{at}.attention.output", attended, hidden)
        inner = self._node(
            "BiasGelu",
            [
                self._matmul(f"{at}.intermediate.dense", hidden),
                self._constant(
                    f"{at}.intermediate.dense.bias",
                    self._weights[f"{at}.intermediate.dense.bias"],
                ),
            ],
            [f"{at}.inner"],
            domain=FUSED,
        )
        return self._dense_and_norm(f"{at}.output", inner, hidden)

    def _dense_and_norm(self, at: str, value: str, residual: str) -> str:
        vectors = [
            self._constant(f"{at}.{name}", self._weights[f"{at}.{name}"])
            for name in ("LayerNorm.weight", "LayerNorm.bias", "dense.bias")
        ]
        return self._node(
            "SkipLayerNormalization",
            [self._matmul(f"{at}.dense", value), residual, *vectors],
            [f"{at}.normed"],
            domain=FUSED,
            epsilon=self._epsilon,
        )

    def _matmul(self, at: str, value: str) -> str:
        weight = self._constant(f"{at}.weight", self._weights[f"{at}.weight"].T)
        return self._node("MatMul", [value, weight], [f"{at}.product"])

    def _constant(self, name: str, value: Array) -> str:
        from onnx import numpy_helper

        self._constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def _node(self, operator: str, inputs: list[str], outputs: list[str], **attributes: Any) -> str:
        from onnx import helper

        self._nodes.append(helper.make_node(operator, inputs, outputs, **attributes))
        return outputs[0]


class _EncoderWriter(BertWriter):
    """Writes the sentence encoder."""

    def __init__(self, checkpoint: Checkpoint, weights: Mapping[str, Array]) -> None:
        super().__init__(checkpoint.config, weights)
        self._checkpoint = checkpoint

    def model(self) -> onnx.ModelProto:
        from onnx import TensorProto, helper

        hidden = self._embeddings()
        for layer in range(int(self._config["num_hidden_layers"])):
            hidden = self._block(layer, hidden)
        self._pool(hidden)
        width = int(self._config["hidden_size"])
        integers = [
            helper.make_tensor_value_info(name, TensorProto.INT32, ["batch", "tokens"])
            for name in ("ids", "mask")
        ]
        vectors = helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["batch", width])
        graph = helper.make_graph(
            self._nodes, "sentence_encoder", integers, [vectors], self._constants
        )
        return helper.make_model(
            graph,
            producer_name="memedit",
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(FUSED, 1)],
        )

    def _embeddings(self) -> str:
        # Every text is one segment, so the vector of segment 0 is folded into the positions.
        segment = self._weights["embeddings.token_type_embeddings.weight"][0]
        positions = self._weights["embeddings.position_embeddings.weight"] + segment
        norm = "embeddings.LayerNorm"
        return self._node(
            "EmbedLayerNormalization",
            [
                "ids",
                "",
                self._constant("words", self._weights["embeddings.word_embeddings.weight"]),
                self._constant("positions", positions),
                "",
                self._constant(f"{norm}.weight", self._weights[f"{norm}.weight"]),
                self._constant(f"{norm}.bias", self._weights[f"{norm}.bias"]),
            ],
            ["embedded", "unused_mask_index"],
            domain=FUSED,
            epsilon=self._epsilon,
        )

    def _pool(self, hidden: str) -> None:
        """Mean over the text's tokens (its length cancels out in the normalisation), or [CLS]."""
        from onnx import TensorProto

        if pooling(self._checkpoint) == "cls":
            first = self._constant("first", np.array(0, dtype=np.int64))
            pooled = self._node("Gather", [hidden, first], ["pooled"], axis=1)
        else:
            axis = self._constant("axis", np.array([1], dtype=np.int64))
            self._node("Cast", ["mask"], ["counted"], to=TensorProto.FLOAT)
            self._node("Unsqueeze", ["counted", axis], ["row"])
            self._node("MatMul", ["row", hidden], ["sum"])
            pooled = self._node("Squeeze", ["sum", axis], ["pooled"])
        self._node("LpNormalization", [pooled], ["vectors"], axis=-1, p=2)
