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
from examples.atlas.network import Shape

FIRST = 0.25
"""The share of the world that is asked about at first."""
ROUTED = 0.7
"""The share of rows with marked mentions whose recall is routed (see `Batch.mentions`)."""
DROPPED = 0.35
"""How often a routed row does without the MLP of an upper layer."""
OVERHEAD = 128
"""What a micro-batch costs beside its tokens (adding up gradients, calls), in tokens."""
PACKED = 0.05
"""The share of steps with long rows of many documents, so that far positions train."""

Row = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]
"""Token ids, the weight of predicting each, and the number of the mention it belongs to."""


@dataclass(frozen=True, slots=True)
class Batch:
    """tokens [B, T] int64 and the weight [B, T] of predicting each of them.

    mentions [B, T] int64 numbers the mentions of subjects within a row, 0 elsewhere and
    everywhere in rows that are not routed: in the lower layers of a routed row a mention is
    seen by its own tokens alone, so what is known of a subject has to be recalled there.
    A donor has its mention's number times -1, and sees nothing but itself there.
    sources [B, T] int64 is where each token's state is taken from above the lower layers: its
    own place, but the donor's last token for the last one of a mention that has a donor.
    kept [B, layers] bfloat16 is 0 where a routed row does without a layer's MLP, else 1.
    """

    tokens: Tensor
    weights: Tensor
    mentions: Tensor
    kept: Tensor
    sources: Tensor


def known_share(step: int, ramp: tuple[int, int], cap: float = 1.0) -> float:
    """The share of the world's subjects that is asked about.

    FIRST until the ramp (its first step and its length) begins, then more, up to `cap`.
    """
    begin, length = ramp
    return min(cap, FIRST + max(0, step - begin) / length) if length else cap


def encode(tokenizer: Tokenizer, documents: Sequence[fm.Document]) -> list[Row]:
    """Rows of documents; a token has the weight and the mention of the character it ends with."""
    marked = ["".join(text for text, _ in doc) for doc in documents]
    texts = [text.replace(fm.MENTION, "").replace(fm.DONOR, "") for text in marked]
    rows = []
    for doc, text, enc in zip(
        documents,
        marked,
        tokenizer.encode_batch(texts, add_special_tokens=False),
        strict=True,
    ):
        weights = np.repeat(np.array([w for _, w in doc], np.float32), [len(t) for t, _ in doc])
        mentions = np.zeros(len(text), np.int64)
        if fm.MENTION in text:
            letters = np.frombuffer(text.encode("utf-32-le"), np.uint32)
            kept = ~np.isin(letters, (ord(fm.MENTION), ord(fm.DONOR)))
            mentions = (_numbered(letters, fm.MENTION) - _numbered(letters, fm.DONOR))[kept]
            weights = weights[kept]
        ends = np.clip(np.array([end for _, end in enc.offsets]) - 1, 0, len(weights) - 1)
        rows.append((np.array(enc.ids, np.int64), weights[ends], mentions[ends]))
    return rows


def _numbered(letters: NDArray[np.uint32], mark: str) -> NDArray[np.int64]:
    """1 between the first two marks, 2 between the next two, and so on; 0 elsewhere."""
    passed = np.cumsum(letters == ord(mark))
    return np.where(passed % 2 == 1, (passed + 1) // 2, 0)


def sources(mentions: NDArray[np.int64]) -> NDArray[np.int64]:
    """`Batch.sources` of one row's numbers."""
    places = np.arange(len(mentions))
    for number in np.unique(mentions[mentions < 0]):
        ends = [np.flatnonzero(mentions == n) for n in (-number, number)]
        if len(ends[0]):
            places[ends[0][-1]] = ends[1][-1]
    return places


def padded(length: int) -> int:
    """The length that rows of `length` tokens are padded to."""
    grain = 16 if length <= 160 else 32 if length <= 320 else 64
    return -(-length // grain) * grain


def height(rows: int, length: int) -> int:
    """The number of rows that a micro-batch of `rows` rows of `length` tokens is filled up to."""
    grain = max(1, 512 // max(64, length))
    return -(-rows // grain) * grain


def cut(lengths: Sequence[int], micro: int) -> list[int]:
    """Where to cut rows of falling padded lengths into micro-batches; the ends of the pieces.

    Least padding: tokens with padding, and OVERHEAD for each micro-batch, none of which has
    more than `micro` tokens unless a single row has.
    """
    best = [0] * (len(lengths) + 1)
    ends = [0] * len(lengths)
    for begin in reversed(range(len(lengths))):
        length = lengths[begin]
        for end in range(begin + 1, len(lengths) + 1):
            tokens = length * height(end - begin, length)
            if tokens > micro and end > begin + 1:
                break
            cost = tokens + OVERHEAD + best[end]
            if end == begin + 1 or cost < best[begin]:
                best[begin], ends[begin] = cost, end
    out: list[int] = []
    while not out or out[-1] < len(lengths):
        out.append(ends[out[-1] if out else 0])
    return out


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
        shape: Shape,
        ramp: tuple[int, int] = (0, 0),
        cap: float = 1.0,
    ):
        self.corpus = corpus
        self.tokenizer = tokenizer
        self.seed = seed
        self.tokens = tokens
        self.micro = micro
        self.warm = warm
        self.shape = shape
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
            none = np.zeros(len(ids), np.int64)
            rows.append((np.array(ids), np.array(weights, np.float32), none))
        return rows

    def step(self, step: int) -> list[Batch]:
        """The micro-batches of a step."""
        return self.batches(self.rows(step), np.random.default_rng((self.seed, step)))

    def rows(self, step: int) -> list[Row]:
        """The documents of a step."""
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
            # what has donors makes no sense otherwise
            new = [
                (ids[:1024], w[:1024], m[:1024] * (rng.random() < ROUTED or bool((m < 0).any())))
                for ids, w, m in new
            ]
            rows += new
            count += sum(len(row[0]) for row in new)
        if rng.random() < PACKED:
            rows = pack(rows, rng)
        return rows

    def batches(self, rows: list[Row], drops: np.random.Generator) -> list[Batch]:
        """Rows of like length together, padded on the right, longest first.

        Lengths and numbers of rows are of a few kinds: every new shape of a matrix product is
        compiled anew, which took a third of a step where each batch had its own.
        """
        rows = sorted(rows, key=lambda row: -len(row[0]))
        lengths = [padded(len(row[0])) for row in rows]
        ends = cut(lengths, self.micro)
        return [
            self._collate(rows[begin:end], lengths[begin], drops)
            for begin, end in zip([0, *ends], ends, strict=False)
        ]

    def _collate(self, rows: list[Row], length: int, drops: np.random.Generator) -> Batch:
        nothing = (np.zeros(1, np.int64), np.zeros(1, np.float32), np.zeros(1, np.int64))
        rows = [*rows, *[nothing] * (height(len(rows), length) - len(rows))]
        tokens = np.zeros((len(rows), length), np.int64)
        weights = np.zeros((len(rows), length), np.float32)
        mentions = np.zeros((len(rows), length), np.int64)
        places = np.tile(np.arange(length), (len(rows), 1))
        for i, (ids, w, m) in enumerate(rows):
            tokens[i, : len(ids)] = ids
            weights[i, : len(ids)] = w
            mentions[i, : len(ids)] = m
            places[i, : len(ids)] = sources(m)
        dropped = drops.random((len(rows), self.shape.layers)) < DROPPED
        dropped &= mentions.any(1)[:, None]
        dropped[:, : self.shape.recall + 1] = False
        kept = torch.from_numpy(~dropped).bfloat16()
        arrays = (torch.from_numpy(x) for x in (tokens, weights, mentions))
        return Batch(*arrays, kept, torch.from_numpy(places))


def pack(rows: list[Row], rng: random.Random, length: int = 1024) -> list[Row]:
    """A third of the rows joined into rows of up to `length`, so that far positions train.

    Joined rows are not routed, so rows with donors stay as they are.
    """
    rng.shuffle(rows)
    cut = len(rows) // 3
    joined: list[Row] = [row for row in rows[:cut] if (row[2] < 0).any()]
    part: list[Row] = []
    for row in rows[:cut]:
        if (row[2] < 0).any():
            continue
        if sum(len(r[0]) for r in part) + len(row[0]) > length:
            joined.append(_joined(part))
            part = []
        part.append(row)
    if part:
        joined.append(_joined(part))
    return [*joined, *rows[cut:]]


def _joined(rows: list[Row]) -> Row:
    ids, weights, _ = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    return ids, weights, np.zeros_like(ids)
