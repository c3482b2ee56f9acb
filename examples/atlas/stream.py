"""From documents to batches: a stream that depends on the seed and the step alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from examples.atlas import formats as fm
from examples.atlas.corpus import Corpus

FIRST = 0.12

Row = tuple[NDArray[np.int64], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Batch:
    """tokens [B, T] int64 and the weight [B, T] of predicting each of them."""

    tokens: Tensor
    weights: Tensor


def known_share(step: int, ramp: tuple[int, int], cap: float = 1.0) -> float:
    """The share of the world's subjects that is asked about.

    FIRST until the ramp (its first step and its length) begins, then more, up to `cap`.
    """
    begin, length = ramp
    return min(cap, FIRST + max(0, step - begin) / length) if length else cap


def encode(tokenizer: Tokenizer, documents: Sequence[fm.Document]) -> list[Row]:
    """Token ids and weights of documents; a token has the weight of the piece it ends in."""
    texts = ["".join(text for text, _ in doc) for doc in documents]
    rows = []
    for doc, text, enc in zip(
        documents,
        texts,
        tokenizer.encode_batch(texts, add_special_tokens=False),
        strict=True,
    ):
        by_char = np.repeat(np.array([w for _, w in doc], np.float32), [len(t) for t, _ in doc])
        ends = np.array([end for _, end in enc.offsets]) - 1
        weights = by_char[np.clip(ends, 0, len(text) - 1)]
        rows.append((np.array(enc.ids, np.int64), weights))
    return rows


class Stream:
    """Draws the batches of a step: `tokens` targets in micro-batches of about `micro`."""

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: Tokenizer,
        seed: int,
        tokens: int,
        micro: int,
        warm: int,
        ramp: tuple[int, int] = (0, 0),
        cap: float = 1.0,
    ):
        self.corpus = corpus
        self.tokenizer = tokenizer
        self.seed = seed
        self.tokens = tokens
        self.micro = micro
        self.warm = warm
        self.ramp = ramp
        self.cap = cap
        self.share = -1.0
        self.weights = [w for w, _ in corpus.mixture]
        self.draws = [draw for _, draw in corpus.mixture]
        self.bos = tokenizer.token_to_id(fm.BOS)
        self.vocab = tokenizer.get_vocab_size()

    def copying(self, rng: random.Random, n: int) -> list[Row]:
        """Rows that repeat a random string, or look up one of several keys: induction."""
        rows = []
        for _ in range(n):
            if rng.random() < 0.5:
                part = [rng.randrange(8, self.vocab) for _ in range(rng.randrange(4, 24))]
                gap = [rng.randrange(8, self.vocab) for _ in range(rng.randrange(0, 6))]
                ids = [self.bos, *part, *gap, *part]
                weights = [0.0] * (len(ids) - len(part) + 1) + [1.0] * (len(part) - 1)
            else:
                pairs = [
                    [[rng.randrange(8, self.vocab) for _ in range(rng.randrange(1, 4))]
                     for _ in range(2)]
                    for _ in range(rng.randrange(2, 8))
                ]  # fmt: skip
                key, value = rng.choice(pairs)
                ids = [self.bos, *(t for pair in pairs for side in pair for t in side), *key]
                weights = [0.0] * len(ids) + [1.0] * len(value)
                ids = [*ids, *value]
            rows.append((np.array(ids, np.int64), np.array(weights, np.float32)))
        return rows

    def step(self, step: int) -> list[Batch]:
        """The micro-batches of a step."""
        if (share := known_share(step, self.ramp, self.cap)) != self.share:
            self.corpus.activate(share)
            self.share = share
        rng = random.Random(f"{self.seed}:{step}")
        share = max(0.0, 0.5 * (1 - step / self.warm)) if self.warm else 0.0
        rows: list[Row] = []
        count = 0
        while count < self.tokens:
            docs = [draw(rng) for draw in rng.choices(self.draws, self.weights, k=48)]
            new = encode(self.tokenizer, docs) + self.copying(rng, int(48 * share))
            new = [(ids[:1024], w[:1024]) for ids, w in new]
            rows += new
            count += sum(len(ids) for ids, _ in new)
        if rng.random() < 0.15:
            rows = pack(rows, rng)
        rows.sort(key=lambda row: len(row[0]))
        return self.batches(rows)

    def batches(self, rows: list[Row]) -> list[Batch]:
        """Rows of like length together, padded on the right."""
        out, part = [], []  # type: ignore[var-annotated]
        for row in rows:
            size, length = len(row[0]) * (len(part) + 1), len(row[0])
            if part and (
                size > self.micro or (length > 1.3 * len(part[0][0]) + 2 and size > self.micro // 4)
            ):
                out.append(_collate(part))
                part = []
            part.append(row)
        return [*out, _collate(part)]


def pack(rows: list[Row], rng: random.Random, length: int = 1024) -> list[Row]:
    """A third of the rows joined into rows of up to `length`, so that far positions train."""
    rng.shuffle(rows)
    cut = len(rows) // 3
    joined: list[Row] = []
    ids: list[NDArray[np.int64]] = []
    weights: list[NDArray[np.float32]] = []
    size = 0
    for row in rows[:cut]:
        if size + len(row[0]) > length:
            joined.append((np.concatenate(ids), np.concatenate(weights)))
            ids, weights, size = [], [], 0
        ids.append(row[0])
        weights.append(row[1])
        size += len(row[0])
    if ids:
        joined.append((np.concatenate(ids), np.concatenate(weights)))
    return [*joined, *rows[cut:]]


def _collate(rows: list[Row]) -> Batch:
    length = max(len(ids) for ids, _ in rows)
    tokens = np.zeros((len(rows), length), np.int64)
    weights = np.zeros((len(rows), length), np.float32)
    for i, (ids, w) in enumerate(rows):
        tokens[i, : len(ids)] = ids
        weights[i, : len(ids)] = w
    return Batch(torch.from_numpy(tokens), torch.from_numpy(weights))
