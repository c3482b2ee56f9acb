"""Second moments of a layer's keys, C = E[k kᵀ]: what a model's old knowledge looks like.

They cost a pass over a corpus, so they are kept: under the model's fingerprint, the corpus's
fingerprint and the layer, never under a name.  A pass can be cut off and goes on where it was; its
texts can be shared out among processes, whose sums are added up.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from memedit.errors import InvalidInputError
from memedit.modeling.architecture import architecture
from memedit.modeling.hooks import Places, catch
from memedit.modeling.tokens import Tokens, encode_prompt, pad

Progress = Callable[[int, int], None]
_FORMAT = "1"


@dataclass(frozen=True, slots=True)
class SecondMoment:
    """Σ k kᵀ over tokens, and how many tokens that were."""

    total: Tensor
    """float64 [in, in]"""
    tokens: int
    texts: int
    """How many texts of the corpus (or of a process's share of it) are in it."""

    def __add__(self, other: SecondMoment) -> SecondMoment:
        """Return the moment over both sets of tokens."""
        return SecondMoment(
            self.total + other.total, self.tokens + other.tokens, self.texts + other.texts
        )

    def mean(self) -> Tensor:
        """Return C = Σ k kᵀ / tokens: float64 [in, in].

        Raises:
            InvalidInputError: no token was seen.

        """
        if self.tokens == 0:
            raise InvalidInputError("a second moment of no tokens; the corpus has no usable text")
        return self.total / self.tokens

    def save(self, path: Path) -> None:
        """Write it as safetensors; the file appears whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        counts = {"tokens": str(self.tokens), "texts": str(self.texts), "format": _FORMAT}
        save_file({"total": self.total.cpu().contiguous()}, part, metadata=counts)
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> SecondMoment:
        """Read what ``save`` wrote.

        Raises:
            InvalidInputError: it is no such file.

        """
        try:
            with safe_open(path, framework="pt") as file:
                counts: dict[str, str] = file.metadata() or {}
                if counts.get("format") != _FORMAT:
                    raise ValueError(f"format {counts.get('format')!r}, expected {_FORMAT!r}")
                return cls(file.get_tensor("total"), int(counts["tokens"]), int(counts["texts"]))
        except Exception as error:  # safetensors raises types of its own
            raise InvalidInputError(
                f"{path} holds no second moment ({error}); delete it, and it is made again"
            ) from error


def collect_moments(
    model: nn.Module,
    tokenizer: Any,
    texts: Sequence[str],
    layers: Sequence[int],
    *,
    save_in: Path | None = None,
    save_every: int = 1024,
    length: int = 512,
    rows: int = 32,
    progress: Progress | None = None,
) -> dict[int, SecondMoment]:
    """Sum k kᵀ of the keys (the value matrix's input) of every token, in one pass for all layers.

    The first token of a text is left out where the tokenizer put it there: its key is the same in
    every text, and often huge.

    Args:
        model: a transformers causal language model in eval mode; left as it was.
        tokenizer: its tokenizer.
        texts: the corpus, or one process's share of it (``texts[i::n]``).
        layers: whose keys.
        save_in: folder in which sums are kept while the pass runs (``layer-N.safetensors``), and
            from which it goes on; left out, nothing is written.
        save_every: texts between two such writes.
        length: tokens of a text at most.
        rows: texts of one forward.
        progress: called with (texts done, in all).

    """
    parts = [architecture(model).layer(number) for number in layers]
    sums = _begun(save_in, layers)
    if not sums:
        for number, part in zip(layers, parts, strict=True):
            size = part.down.as_out_in().shape[1]
            sums[number] = SecondMoment(torch.zeros(size, size, dtype=torch.float64), 0, 0)
    done = next(iter(sums.values())).texts
    saved = done
    for group in _groups(texts, done, rows):
        cut = [encode_prompt(tokenizer, text).ids[:length] for text in group if text.strip()]
        batch = pad([Tokens(ids, ()) for ids in cut], tokenizer) if cut else None
        if batch is not None:
            real = batch.attention_mask.bool()
            real[:, 0] &= batch.input_ids[:, 0] != (tokenizer.bos_token_id or -1)
            where = real.nonzero()
            places = Places(where[:, 0], where[:, 1], len(cut))
            with ExitStack() as stack, torch.no_grad():
                caught = [
                    stack.enter_context(catch(part.down.module, "input", places)) for part in parts
                ]
                model(**batch.inputs(model))
            for number, keys in zip(layers, caught, strict=True):
                k = keys.last.float()
                old = sums[number]
                sums[number] = SecondMoment(
                    old.total.add_((k.T @ k).double().cpu()), old.tokens + len(k), old.texts
                )
        done += len(group)
        sums = {n: SecondMoment(m.total, m.tokens, done) for n, m in sums.items()}
        if progress is not None:
            progress(done, len(texts))
        if save_in is not None and (done - saved >= save_every or done >= len(texts)):
            for number, moment in sums.items():
                moment.save(save_in / f"layer-{number}.safetensors")
            saved = done
    return sums


def _begun(folder: Path | None, layers: Sequence[int]) -> dict[int, SecondMoment]:
    """Read sums to go on from; none, unless all layers have seen equally many texts."""
    if folder is None:
        return {}
    files = [folder / f"layer-{number}.safetensors" for number in layers]
    if not all(file.is_file() for file in files):
        return {}
    sums = {n: SecondMoment.load(file) for n, file in zip(layers, files, strict=True)}
    return sums if len({moment.texts for moment in sums.values()}) == 1 else {}


def _groups(texts: Sequence[str], done: int, rows: int) -> Iterator[Sequence[str]]:
    for first in range(done, len(texts), rows):
        yield texts[first : first + rows]


def read_corpus(path: Path, limit: int | None = None) -> list[str]:
    """Read texts from a file: paragraphs apart by empty lines, or JSON lines with a ``text``.

    Raises:
        InvalidInputError: the file is not there or holds no text.

    """
    try:
        whole = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"the corpus {path} cannot be read: {error}") from error
    if path.suffix == ".jsonl":
        texts = []
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                record: Any = json.loads(line) if line.strip() else {"text": ""}
                texts.append(str(record["text"]))
            except (ValueError, KeyError, TypeError) as error:
                raise InvalidInputError(
                    f"{path}, line {number}: expected a JSON object with a 'text', got "
                    f"{line[:80]!r}"
                ) from error
    else:
        texts = [part.strip() for part in whole.split("\n\n")]
    texts = [text for text in texts if text.strip()][:limit]
    if not texts:
        raise InvalidInputError(f"the corpus {path} holds no text")
    return texts
