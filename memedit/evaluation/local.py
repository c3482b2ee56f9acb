"""A checkpoint in this process: answers and teacher-forced scores, batched."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from memedit.evaluation.forward import Batches
from memedit.evaluation.prompts import Encoded, Form, PromptEncoder, by_length
from memedit.evaluation.protocols import Answer, Forced
from memedit.modeling.fingerprint import (
    model_fingerprint,
    texts_fingerprint,
    tokenizer_fingerprint,
)
from memedit.modeling.loading import load_checkpoint

BATCH_TOKENS = 8_192
MOST_AT_ONCE = 64
PromptsEnd = Callable[[Sequence[int]], AbstractContextManager[None]]
"""Told, around a run of the model, where each row's prompt ends in the padded batch."""
_LENGTHS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")


class LocalModel:
    """A causal language model of transformers behind ``protocols.Model``.

    Greedy: the arg max of every step, up to an end token of the checkpoint's generation config or
    the limit.  A line break is no end: what a user would see is what is judged.  Batches hold
    texts of like length, padded on the left to generate and on the right to score; equal prompts
    are asked once.

    Args:
        model: a ``PreTrainedModel`` with a language-modelling head, in eval mode.
        tokenizer: its fast tokenizer.
        name: what reports call it.
        form: how prompts are put.
        batch_tokens: tokens of a batch, padding and answers included.
        most_at_once: texts of a batch.

    """

    scores = True

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str,
        form: Form | str = Form.AUTO,
        batch_tokens: int = BATCH_TOKENS,
        most_at_once: int = MOST_AT_ONCE,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.prompts = PromptEncoder(tokenizer, Form(form))
        self._batch_tokens = batch_tokens
        self._most = most_at_once if self._batches.can_be_padded else 1
        self._prompts_end: PromptsEnd = lambda positions: nullcontext()

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        form: Form | str = Form.AUTO,
        dtype: str = "auto",
        device: str = "auto",
    ) -> Self:
        """Load a checkpoint folder; see ``memedit.modeling.loading``."""
        model, tokenizer = load_checkpoint(folder, dtype=dtype, device=device)
        return cls(model, tokenizer, name=folder.resolve().name, form=form)

    @property
    def fingerprint(self) -> str:
        """Of the weights as they are now, the tokenizer, dtype and form; hashed at every look."""
        words = tokenizer_fingerprint(self.tokenizer)
        put = (str(self.model.dtype), self.prompts.form.value)
        return texts_fingerprint(model_fingerprint(self.model), words, *put)

    @cached_property
    def max_length(self) -> int:
        """Tokens of prompt and answer together."""
        config = self.model.config.get_text_config(decoder=True)
        stated = [getattr(config, name, None) for name in _LENGTHS]
        return min((n for n in stated if isinstance(n, int) and n > 0), default=2_048)

    @cached_property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end an answer: those of the generation config, and the tokenizer's EOS."""
        stated = self.model.generation_config.eos_token_id
        ids = {*(stated if isinstance(stated, list) else [stated]), self.tokenizer.eos_token_id}
        return frozenset(int(token) for token in ids if token is not None)

    @contextmanager
    def telling(self, prompts_end: PromptsEnd) -> Iterator[None]:
        """As long as the block lasts, say where prompts end whenever targets are scored.

        For adapters that decide at a prompt's last token, which in a scored row is not the last.
        """
        before, self._prompts_end = self._prompts_end, prompts_end
        try:
            yield
        finally:
            self._prompts_end = before

    def is_chat(self, prompt: str) -> bool:
        """Tell whether ``prompt`` is put as a chat turn."""
        return self.prompts.is_chat(prompt)

    def encoded(self, prompt: str, target: str | None = None) -> Encoded:
        """Return the ids that the model reads, and how many of them are the prompt's."""
        if target is None:
            return self.prompts.encode(prompt)
        return self.prompts.encode_with(prompt, target)

    def generate(
        self,
        prompts: Sequence[str],
        max_new_tokens: int,
        *,
        min_new_tokens: int = 0,
        chat: Sequence[bool] | None = None,
    ) -> list[Answer]:
        """Answer greedily; see ``protocols.Model.generate``.

        Args:
            prompts: plain texts.
            max_new_tokens: length of an answer.
            min_new_tokens: end tokens are held back so long.
            chat: for each prompt whether it is a chat turn, in place of the form.

        """
        puts = [
            self.prompts.encode(prompt, chat=None if chat is None else chat[place])
            for place, prompt in enumerate(prompts)
        ]
        once = list(dict.fromkeys(puts))
        fits = [one for one in once if len(one.ids) < self.max_length]
        said: dict[Encoded, Answer] = {
            one: Answer("", False, len(one.ids)) for one in once if len(one.ids) >= self.max_length
        }
        widths = [len(one.ids) + max_new_tokens for one in fits]
        for group in by_length(widths, self._batch_tokens, self._most):
            batch = [fits[place] for place in group]
            for one, (ids, finished) in zip(
                batch,
                self._batches.continued([one.ids for one in batch], max_new_tokens, min_new_tokens),
                strict=True,
            ):
                text = str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()
                said[one] = Answer(text, finished, len(one.ids))
        return [said[one] for one in puts]

    def score(
        self,
        prompts: Sequence[str],
        targets: Sequence[str],
        *,
        chat: Sequence[bool] | None = None,
    ) -> list[Forced]:
        """Feed targets token by token; see ``protocols.Model.score``."""

        def summed_up(logits: torch.Tensor, target: torch.Tensor) -> Forced:
            # in float64, so that the sum over the vocabulary adds no error of its own
            logs = logits.double().log_softmax(-1).gather(-1, target[:, None])[:, 0]
            best = logits.argmax(-1)
            return Forced(
                tuple((best == target).tolist()), tuple(logs.tolist()), tuple(best.tolist())
            )

        def nothing(one: Encoded) -> Forced:
            n = len(one.target)
            return Forced((False,) * n, (-math.inf,) * n, (-1,) * n)

        return self._forced(prompts, targets, chat, summed_up, nothing)

    def log_probabilities(
        self,
        prompts: Sequence[str],
        targets: Sequence[str],
        *,
        chat: Sequence[bool] | None = None,
    ) -> list[npt.NDArray[np.float32]]:
        """Return the whole distribution in front of each target token.

        Returns:
            For each target natural logarithms ``[n_target_tokens, vocabulary]``, float32; no row
            where the text is too long for the model.

        """

        def whole(logits: torch.Tensor, target: torch.Tensor) -> npt.NDArray[np.float32]:
            found: npt.NDArray[np.float32] = logits.float().log_softmax(-1).cpu().numpy()
            return found

        def nothing(one: Encoded) -> npt.NDArray[np.float32]:
            return np.empty((0, 0), dtype=np.float32)

        return self._forced(prompts, targets, chat, whole, nothing)

    def _forced(
        self,
        prompts: Sequence[str],
        targets: Sequence[str],
        chat: Sequence[bool] | None,
        read: Callable[[torch.Tensor, torch.Tensor], Any],
        nothing: Callable[[Encoded], Any],
    ) -> list[Any]:
        """Read the logits at the target's places with ``read(logits [n, vocabulary], ids [n])``."""
        puts = [
            self.prompts.encode_with(prompt, target, chat=None if chat is None else chat[place])
            for place, (prompt, target) in enumerate(zip(prompts, targets, strict=True))
        ]
        once = list(dict.fromkeys(puts))
        fits = [one for one in once if len(one.ids) <= self.max_length]
        found = {one: nothing(one) for one in once if len(one.ids) > self.max_length}
        lengths = [len(one.ids) for one in fits]
        for group in by_length(lengths, self._batch_tokens, self._most):
            batch = [fits[place] for place in group]
            with self._prompts_end([one.prompt_length - 1 for one in batch]):
                for one, logits in self._batches.logits(batch):
                    ids = torch.tensor(one.target, device=logits.device)
                    found[one] = read(logits, ids)
        return [found[one] for one in puts]

    @cached_property
    def _batches(self) -> Batches:
        pad = self.tokenizer.pad_token_id
        filler = int(pad) if pad is not None else min(self.end_ids, default=0)
        return Batches(self.model, filler, self.end_ids, self.max_length)
