"""Second moments for editing: from a corpus or from the model's own text, kept per model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from memedit.editing.base import Progress
from memedit.errors import InvalidInputError
from memedit.modeling.fingerprint import model_fingerprint, texts_fingerprint
from memedit.modeling.moments import SecondMoment, collect_moments, read_corpus
from memedit.modeling.sampling import sample_texts


@dataclass(frozen=True, slots=True)
class Statistics:
    """Where second moments come from, and where they are kept."""

    corpus: Path | None = None
    """A text file (see ``memedit.modeling.moments.read_corpus``); ``None``: text that the model
    samples from what begins a document."""
    texts: int = 1000
    """Texts that are sampled, or at most taken from the corpus."""
    tokens: int = 64
    """Tokens of a sampled text."""
    ridge: float = 1e-3
    """Added to the diagonal, as a share of its mean: directions that the corpus never showed."""
    cache: Path | None = None
    """Folder of kept moments; ``None``: the user's own."""

    def __post_init__(self) -> None:
        if self.texts < 1 or self.tokens < 1 or self.ridge < 0:
            raise InvalidInputError(
                f"texts {self.texts}, tokens {self.tokens}, ridge {self.ridge}: expected at least "
                "one text of one token, and a ridge of 0 or more"
            )

    def moments(
        self,
        model: nn.Module,
        tokenizer: Any,
        layers: Sequence[int],
        progress: Progress | None = None,
    ) -> dict[int, Tensor]:
        """Return C of each layer, float64 [in, in] with the ridge added; made where not kept.

        Args:
            model: unedited, in eval mode.
            tokenizer: its tokenizer.
            layers: of which layers.
            progress: called with (texts done, in all).

        """
        folder = self.folder(model)
        kept = {n: folder / f"layer-{n}.safetensors" for n in layers}
        whole = {n: SecondMoment.load(file) for n, file in kept.items() if file.is_file()}
        if missing := [n for n in layers if n not in whole]:
            whole |= self._collect(model, tokenizer, missing, folder, progress)
        return {n: self._conditioned(whole[n]) for n in layers}

    def folder(self, model: nn.Module) -> Path:
        """Return where a model's moments over this corpus are kept."""
        if self.corpus is None:
            corpus = texts_fingerprint("sampled", str(self.texts), str(self.tokens))
        else:
            corpus = texts_fingerprint(*read_corpus(self.corpus, self.texts))
        home = self.cache
        if home is None:
            caches = os.environ.get("XDG_CACHE_HOME")
            home = (Path(caches) if caches else Path.home() / ".cache") / "memedit" / "moments"
        return home / model_fingerprint(model) / corpus

    def _collect(
        self,
        model: nn.Module,
        tokenizer: Any,
        layers: Sequence[int],
        folder: Path,
        progress: Progress | None,
    ) -> dict[int, SecondMoment]:
        if self.corpus is None:
            texts = sample_texts(model, tokenizer, [""] * self.texts, self.tokens)
        else:
            texts = read_corpus(self.corpus, self.texts)
        running = folder / ("running-" + "-".join(map(str, layers)))
        sums = collect_moments(model, tokenizer, texts, layers, save_in=running, progress=progress)
        for number, moment in sums.items():
            moment.save(folder / f"layer-{number}.safetensors")
        for file in running.glob("*.safetensors"):
            file.unlink()
        running.rmdir()
        return sums

    def _conditioned(self, moment: SecondMoment) -> Tensor:
        mean = moment.mean()
        ridge = self.ridge * mean.diagonal().mean()
        return mean + ridge * torch.eye(len(mean), dtype=mean.dtype)
