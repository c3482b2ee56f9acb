"""The ONNX graph of the pair classifier: a BERT's blocks, with segments and a head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from memedit.scope.bert_graph import FUSED, IR_VERSION, OPSET, BertWriter

if TYPE_CHECKING:
    import onnx


class PairWriter(BertWriter):
    """Writes the graph ``ids, segments, mask`` int32 [batch, tokens] -> ``logits`` float32 [b, 3].

    ``weights``: tensors under transformers' names of a ``BertModel``, and ``head.weight`` [3, W],
    ``head.bias`` [3].
    """

    def model(self) -> onnx.ModelProto:
        """Return the graph with its weights."""
        from onnx import TensorProto, helper

        hidden = self._embeddings()
        for layer in range(int(self._config["num_hidden_layers"])):
            hidden = self._block(layer, hidden)
        first = self._constant("first", np.array(0, dtype=np.int64))
        pooled = self._node("Gather", [hidden, first], ["pooled"], axis=1)
        product = self._node(
            "MatMul", [pooled, self._constant("head.weight", self._weights["head.weight"].T)],
            ["head.product"],
        )  # fmt: skip
        bias = self._constant("head.bias", self._weights["head.bias"])
        self._node("Add", [product, bias], ["logits"])
        integers = [
            helper.make_tensor_value_info(name, TensorProto.INT32, ["batch", "tokens"])
            for name in ("ids", "segments", "mask")
        ]
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])
        graph = helper.make_graph(self._nodes, "pairs", integers, [logits], self._constants)
        return helper.make_model(
            graph,
            producer_name="memedit",
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(FUSED, 1)],
        )

    def _embeddings(self) -> str:
        norm, at = "embeddings.LayerNorm", "embeddings"
        names = [f"{at}.{part}_embeddings.weight" for part in ("word", "position", "token_type")]
        words, positions, segments = (self._constant(name, self._weights[name]) for name in names)
        return self._node(
            "EmbedLayerNormalization",
            [
                "ids",
                "segments",
                words,
                positions,
                segments,
                self._constant(f"{norm}.weight", self._weights[f"{norm}.weight"]),
                self._constant(f"{norm}.bias", self._weights[f"{norm}.bias"]),
            ],
            ["embedded", "unused_mask_index"],
            domain=FUSED,
            epsilon=self._epsilon,
        )
