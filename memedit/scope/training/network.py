"""The pair classifier while it is trained, and what it thinks of pairs meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from memedit.scope.pair_input import PairTokenizer
from memedit.scope.training.batches import LABELS
from memedit.scope.training.pairs import Pair
from memedit.scope.training.precision import half_where_fast
from memedit.scope.wordings import with_answer

_BATCH = 128


class PairModel(nn.Module):
    """A BERT with three outputs over its first token."""

    def __init__(self, folder: Path) -> None:
        from transformers import BertModel

        super().__init__()
        self.bert = BertModel.from_pretrained(folder, add_pooling_layer=False)
        for module in self.bert.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0  # pairs are many and different, and random numbers are dear here
        self.head = nn.Linear(self.bert.config.hidden_size, len(LABELS))

    def forward(self, ids: Tensor, segments: Tensor, mask: Tensor) -> Tensor:
        """ids, segments, mask int64 [B, T] -> logits float32 [B, 3], in the order of LABELS."""
        hidden = self.bert(input_ids=ids, token_type_ids=segments, attention_mask=mask)
        logits: Tensor = self.head(hidden.last_hidden_state[:, 0].float())
        return logits

    def trained(self, frozen: int) -> list[nn.Parameter]:
        """Return the parameters that are trained; the others are told to need no gradient."""
        for parameter in self.bert.embeddings.parameters():
            parameter.requires_grad_(False)
        for layer in self.bert.encoder.layer[:frozen]:
            for parameter in layer.parameters():
                parameter.requires_grad_(False)
        # what tells prompt from edit has to be learnt
        self.bert.embeddings.token_type_embeddings.weight.requires_grad_(True)
        return [parameter for parameter in self.parameters() if parameter.requires_grad]


class HalfTrained:
    """A classifier as a training state has it.

    Args:
        state: ``state.pt`` of a run.
        base: folder of the encoder that is fine-tuned.
        device: where to compute, ``cpu`` or ``cuda``.

    """

    def __init__(self, state: Path, base: Path, device: str = "cpu") -> None:
        self._device = device
        self._model = PairModel(base)
        weights = torch.load(state, weights_only=True, map_location="cpu")["model"]
        self._model.load_state_dict(weights)
        self._model.to(device).eval()
        self._tokenizer = PairTokenizer(base / "tokenizer.json")

    def __call__(self, pairs: Sequence[Pair]) -> npt.NDArray[np.float64]:
        """Return the probability of each pair's own label, float64 ``[n]``.

        An edit is read with its answer, where that is known: the harder of its two readings.
        """
        rows = [
            self._tokenizer.ids(pair.prompt, with_answer(pair.edit, pair.answer)[-1])
            for pair in pairs
        ]
        own = torch.tensor([LABELS.index(pair.label) for pair in pairs])
        order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
        out = np.zeros(len(rows))
        for first in range(0, len(order), _BATCH):
            part = order[first : first + _BATCH]
            arrays = self._tokenizer.padded([rows[i] for i in part], grain=8)
            tensors = (torch.from_numpy(a.astype(np.int64)).to(self._device) for a in arrays)
            with torch.inference_mode(), half_where_fast(self._device):
                probabilities = self._model(*tensors).softmax(1).cpu()
            out[part] = probabilities[torch.arange(len(part)), own[part]].double().numpy()
        return out
