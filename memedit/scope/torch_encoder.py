"""Any other sentence-transformers model, on torch."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np

from memedit.errors import MissingResourceError
from memedit.scope.base import Vectors
from memedit.scope.checkpoint import Checkpoint
from memedit.scope.tokens import well_formed

RUNTIME = "torch"


class TorchEncoder:
    """Encodes with sentence-transformers on the CPU, in float32.

    Safe to call from several threads: calls are made one after another.

    Raises:
        MissingResourceError: sentence-transformers is not installed or cannot load the model.

    """

    def __init__(self, checkpoint: Checkpoint, *, threads: int = 1) -> None:
        try:
            import torch
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingResourceError(
                f"encoder {checkpoint.name!r} needs sentence-transformers and torch "
                f"({error}); install them with: pip install 'memedit[models]' sentence-transformers"
            ) from error
        torch.set_num_threads(threads)
        try:
            self._model: Any = SentenceTransformer(
                str(checkpoint.folder),
                device="cpu",
                local_files_only=True,
                model_kwargs={"dtype": torch.float32},
            )
        except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
            raise MissingResourceError(
                f"sentence-transformers cannot load encoder {checkpoint.name!r} from "
                f"{checkpoint.folder}: {error}"
            ) from error
        self._model.eval()
        length = self._model.max_seq_length or checkpoint.max_length
        self._fingerprint = f"{checkpoint.digest()}/{length}/{RUNTIME}"
        self._dim = len(self._model.encode([""], show_progress_bar=False)[0])
        self._lock = Lock()

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._dim

    @property
    def fingerprint(self) -> str:
        """``files' hash/tokens of a text/runtime``."""
        return self._fingerprint

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return float32 ``[n_texts, dim]`` with rows of length 1; any text, also an empty one."""
        if not texts:
            return np.empty((0, self._dim), dtype=np.float32)
        with self._lock:
            vectors: Vectors = self._model.encode(
                [well_formed(text) for text in texts],
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
        return vectors.astype(np.float32, copy=False)
