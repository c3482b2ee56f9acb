"""The encoder of the request path: a BERT sentence encoder on ONNX Runtime."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from memedit.scope import bert_graph
from memedit.scope.base import Vectors
from memedit.scope.checkpoint import Checkpoint
from memedit.scope.onnx_session import open_session
from memedit.scope.tokens import TextTokenizer

RUNTIME = f"onnx-{bert_graph.VERSION}"

MAX_BATCH_TOKENS = 512
"""Tokens of one run, padding included: the layers' outputs of more do not stay in a core's cache,
and a token then takes longer than in a run of its own."""

RUN_TOKENS = 8
"""Tokens that take as long as beginning a run does."""

log = logging.getLogger(__name__)


class OnnxEncoder:
    """Encodes with ONNX Runtime; imports neither torch nor transformers.

    Safe to call from several threads: session and tokenizer are only read.
    """

    def __init__(self, checkpoint: Checkpoint, *, cache_dir: Path, threads: int = 1) -> None:
        digest = checkpoint.digest()
        self._fingerprint = f"{digest}/{checkpoint.max_length}/{RUNTIME}"
        self._dim = int(checkpoint.config["hidden_size"])
        self._tokenizer = TextTokenizer(
            checkpoint.tokenizer, checkpoint.max_length, lower_case=checkpoint.lower_case
        )
        self._session = _open_session(checkpoint, cache_dir, f"{digest}-{RUNTIME}", threads)

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
        vectors = np.empty((len(texts), self._dim), dtype=np.float32)
        rows = [self._tokenizer.ids(text) for text in texts]
        for chosen in sub_batches([len(row) for row in rows], MAX_BATCH_TOKENS):
            ids, mask = _padded([rows[i] for i in chosen])
            vectors[chosen] = self._session.run(["vectors"], {"ids": ids, "mask": mask})[0]
        return vectors


def sub_batches(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Group texts of like length, so that little padding is computed.

    Yields:
        Indices of texts: every text once, shortest first, at most ``max_tokens`` tokens a group
        with padding (a longer text stands alone).  A text joins a group where the padding that it
        brings the others takes no longer than a run of its own, and none of them is padded to more
        than 1.5 times its length plus 8 tokens.

    """
    group: list[int] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if group and (
            lengths[i] * (len(group) + 1) > max_tokens
            or lengths[i] > 1.5 * lengths[group[0]] + 8
            or (lengths[i] - lengths[group[-1]]) * len(group) > RUN_TOKENS
        ):
            yield group
            group = []
        group.append(i)
    if group:
        yield group


def _padded(
    rows: Sequence[Sequence[int]],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return ids and mask, int32 [rows, longest]; padding has id 0 and mask 0."""
    longest = max(len(row) for row in rows)
    ids = np.zeros((len(rows), longest), dtype=np.int32)
    mask = np.zeros((len(rows), longest), dtype=np.int32)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return ids, mask


def _open_session(
    checkpoint: Checkpoint, cache_dir: Path, name: str, threads: int
) -> onnxruntime.InferenceSession:
    """Open the cached graph; a graph that is missing or damaged is made anew.

    The checksum stands in the file's name: a damaged weight would otherwise load without a word
    and give wrong vectors.
    """
    for file in sorted(cache_dir.glob(f"{name}-*.onnx")):
        try:
            content = file.read_bytes()
            if file.stem == f"{name}-{zlib.crc32(content):08x}":
                return open_session(content, threads)
            log.warning("the cached encoder %s is damaged and is made anew", file)
        except Exception as error:  # ONNX Runtime's errors share no base class of their own
            log.warning("the cached encoder %s is unreadable and is made anew: %s", file, error)
    content = bert_graph.build(checkpoint).SerializeToString()
    try:
        _write_whole(cache_dir / f"{name}-{zlib.crc32(content):08x}.onnx", content)
    except OSError as error:
        # A read-only home costs the next start a second, not the service.
        log.warning("the encoder cannot be cached in %s: %s", cache_dir, error)
    return open_session(content, threads)


def _write_whole(file: Path, content: bytes) -> None:
    """Write so that another process sees either nothing or the whole file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.stem}-", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as part:
            part.write(content)
            part.flush()
            os.fsync(part.fileno())
        Path(name).replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
