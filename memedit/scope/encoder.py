"""Opening the encoder that the settings ask for."""

from __future__ import annotations

import os
from pathlib import Path

from memedit.config import EncoderSettings
from memedit.errors import InvalidInputError
from memedit.scope import bert_graph
from memedit.scope.base import Encoder
from memedit.scope.checkpoint import find_checkpoint


def open_encoder(settings: EncoderSettings) -> Encoder:
    """Open a sentence encoder; a BERT model runs on ONNX Runtime and imports no torch.

    Raises:
        MissingResourceError: no such model on this machine, or what it needs is not installed.
        InvalidInputError: runtime "onnx" was asked for, and the model is none that it can run.

    """
    checkpoint = find_checkpoint(settings.model)
    reason = bert_graph.unsupported(checkpoint)
    if settings.runtime == "onnx" and reason is not None:
        raise InvalidInputError(
            f"encoder {settings.model!r} cannot run on ONNX Runtime: {reason}; "
            "set encoder.runtime to 'auto' or 'torch'"
        )
    if settings.runtime == "torch" or reason is not None:
        from memedit.scope.torch_encoder import TorchEncoder

        return TorchEncoder(checkpoint, threads=settings.threads)
    from memedit.scope.onnx_encoder import OnnxEncoder

    cache = settings.cache_dir if settings.cache_dir is not None else default_cache_dir()
    return OnnxEncoder(checkpoint, cache_dir=cache, threads=settings.threads)


def default_cache_dir() -> Path:
    """Return this user's folder for exported encoders."""
    if os.name == "nt":
        home = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    else:
        home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "memedit" / "encoders"
