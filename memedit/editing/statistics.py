"""Second moments for editing: from a corpus or from the model's own text, kept per model."""

from __future__ import annotations

import os
import shutil
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
from memedit.modeling.sampling import BLOCK, SampledTexts

SAVE_EVERY = 256
"""Texts after which a pass is kept at the earliest, to go on from; of a large corpus a 16th."""


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
        self.collect(model, tokenizer, layers, progress)
        folder = self.folder(model)
        kept = {n: SecondMoment.load(folder / f"layer-{n}.safetensors") for n in layers}
        return {n: self._conditioned(kept[n]) for n in layers}

    def folder(self, model: nn.Module) -> Path:
        """Return where a model's moments over this corpus are kept."""
        if self.corpus is None:
            corpus = texts_fingerprint("sampled", str(BLOCK), str(self.texts), str(self.tokens))
        else:
            corpus = texts_fingerprint(*read_corpus(self.corpus, self.texts))
        home = self.cache
        if home is None:
            caches = os.environ.get("XDG_CACHE_HOME")
            home = (Path(caches) if caches else Path.home() / ".cache") / "memedit" / "moments"
        return home / model_fingerprint(model) / corpus

    def collect(
        self,
        model: nn.Module,
        tokenizer: Any,
        layers: Sequence[int],
        progress: Progress | None = None,
        *,
        share: int = 1,
        shares: int = 1,
    ) -> list[int]:
        """Make and keep the moments of layers that are not kept yet, or one process's share.

        What was cut off goes on. Processes with the same settings and layers, and the cache in
        common, each take a share of the texts; whichever ends last adds them up.

        Args:
            model: unedited, in eval mode.
            tokenizer: its tokenizer.
            layers: of which layers.
            progress: called with (texts done, in all), of this share.
            share: this process's, from 1.
            shares: how many there are.

        Returns:
            Which shares are still wanted from others; empty: the moments are kept.

        Raises:
            InvalidInputError: there is no such share, or no text for it.

        """
        if not 1 <= share <= shares:
            raise InvalidInputError(f"share {share} of {shares}: expected 1 to {shares}")
        folder = self.folder(model)
        missing = [n for n in layers if not (folder / f"layer-{n}.safetensors").is_file()]
        if not missing:
            return []
        named = "-".join(map(str, missing))
        parts = [folder / f"running-{named}-{n}-of-{shares}" for n in range(1, shares + 1)]
        own = self._texts(model, tokenizer, share, shares)
        collect_moments(
            model,
            tokenizer,
            own,
            missing,
            save_in=parts[share - 1],
            save_every=max(SAVE_EVERY, len(own) // 16),
            progress=progress,
        )
        found = []
        for number, part in enumerate(parts, start=1):
            wanted = len(self._texts(model, tokenizer, number, shares))
            found.append(_whole(part, missing, wanted))
        if any(one is None for one in found):
            return [n for n, one in enumerate(found, start=1) if one is None]
        for number in missing:
            sums = [one[number] for one in found if one is not None]
            whole = sums[0]
            for other in sums[1:]:
                whole = whole + other
            whole.save(folder / f"layer-{number}.safetensors")
        for part in parts:
            shutil.rmtree(part, ignore_errors=True)  # another process may do the same
        return []

    def _texts(self, model: nn.Module, tokenizer: Any, share: int, shares: int) -> Sequence[str]:
        """Return a share of the corpus, or of what the model samples; that is not written yet."""
        if self.corpus is None:
            return SampledTexts(
                model, tokenizer, self.texts, self.tokens, share=share, shares=shares
            )
        texts = read_corpus(self.corpus, self.texts)
        if shares > len(texts):
            raise InvalidInputError(
                f"{shares} shares of {len(texts)} texts in {self.corpus}: expected at most as many "
                "shares as texts"
            )
        return texts[share - 1 :: shares]

    def _conditioned(self, moment: SecondMoment) -> Tensor:
        mean = moment.mean()
        ridge = self.ridge * mean.diagonal().mean()
        return mean + ridge * torch.eye(len(mean), dtype=mean.dtype)


def _whole(folder: Path, layers: Sequence[int], texts: int) -> dict[int, SecondMoment] | None:
    """Read a share's sums; ``None`` where they are not there, or not over all its texts."""
    files = {n: folder / f"layer-{n}.safetensors" for n in layers}
    if not all(file.is_file() for file in files.values()):
        return None
    sums = {n: SecondMoment.load(file) for n, file in files.items()}
    return sums if all(moment.texts == texts for moment in sums.values()) else None
