"""BIRD: ROME that also teaches the way back, from the object to the subject."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from memedit.editing.rome import RankOne, RomeConfig
from memedit.editing.rows import Padded
from memedit.editing.values import Extra
from memedit.errors import InvalidInputError
from memedit.modeling.architecture import architecture
from memedit.modeling.hooks import catch
from memedit.modeling.tokens import Tokens, encode_prompt, pad
from memedit.registry import register
from memedit.types import EditRequest

Relation = Callable[[EditRequest], tuple[str, str]]
"""The words of an edit's relation and of its inverse: ("capital of", "whose capital is")."""


@dataclass(frozen=True, slots=True)
class BirdConfig(RomeConfig):
    """Settings of BIRD."""

    pull: float = 2e-3
    """Weight of the two relations' distances, divided by the square root of the hidden size."""
    push: float = 0.5
    """Weight in them of the old object, from which the subject is moved away (the paper's β)."""

    def __post_init__(self) -> None:
        RomeConfig.__post_init__(self)
        if not (self.pull >= 0 and self.push >= 0):
            raise InvalidInputError(f"pull {self.pull}, push {self.push}: expected 0 or more")


@register("bird")
class Bird(RankOne[BirdConfig]):
    """ROME's objective with ‖s + r - o‖ + ‖o + r̂ - s‖ of the last hidden states added.

    s, r, r̂ and o are mean hidden states of the subject, of the relation's words, of the inverse
    relation's, and of the object.  The same with the old object, where it is known, is subtracted
    with weight ``push``.

    Source: Ma et al. 2023, "Untying the Reversal Curse via Bidirectional Language Model Editing",
    section 5.
    """

    config_type = BirdConfig

    def __init__(
        self, config: BirdConfig | None = None, *, relation: Relation | None = None, **rest: Any
    ) -> None:
        """Make an editor; ``relation`` words an edit's relation, left out it is the prompt's."""
        super().__init__(config, **rest)
        self.relation = relation or words_of

    def extra(
        self, model: nn.Module, tokenizer: Any, requests: Sequence[EditRequest]
    ) -> Extra | None:
        """Return the distances as a term of the loss."""
        if not self.config.pull:
            return None
        block = architecture(model).layers[-1].block
        worded = [self.relation(request) for request in requests]
        told: Callable[[Sequence[str]], Tensor] = lambda texts: _means(  # noqa: E731
            model, tokenizer, block, texts
        )
        goals = [
            told([request.target_new for request in requests]),
            told([words for words, _ in worded]),
            told([inverse for _, inverse in worded]),
        ]
        known = [request.ground_truth for request in requests]
        old = told(
            [text or request.target_new for text, request in zip(known, requests, strict=True)]
        )
        has_old = torch.tensor([text is not None for text in known], device=old.device)
        config = self.config

        def term(states: Tensor, rows: Padded, count: int) -> Tensor:
            owners = rows.edits[:count].to(states.device)
            subjects = rows.subjects.take(states)[:count].float()
            new, there, back = (g[owners] for g in goals)
            pulled = _distance(subjects, there, back, new)
            pushed = _distance(subjects, there, back, old[owners]) * has_old[owners]
            per_edit = count / max(1, len(set(owners.tolist())))
            whole: Tensor = (pulled - config.push * pushed).sum() / per_edit
            weighed: Tensor = config.pull * whole / states.shape[-1] ** 0.5
            return weighed

        return Extra(block, term)


def words_of(request: EditRequest) -> tuple[str, str]:
    """Return the prompt without its subject, and the same said backwards: an approximation."""
    at = request.prompt.rfind(request.subject)
    words = request.prompt if at < 0 else request.prompt.replace(request.subject, "", 1)
    plain = " ".join(words.replace("?", "").split()) or "is"
    return plain, f"is that of which {plain}"


def _distance(subject: Tensor, there: Tensor, back: Tensor, object_: Tensor) -> Tensor:
    far: Tensor = (subject + there - object_).norm(dim=-1)
    near: Tensor = (object_ + back - subject).norm(dim=-1)
    return far + near


def _means(model: nn.Module, tokenizer: Any, block: nn.Module, texts: Sequence[str]) -> Tensor:
    """Return the mean last hidden state of each text: float32 [len(texts), d]."""
    batch = pad([Tokens(encode_prompt(tokenizer, text).ids, ()) for text in texts], tokenizer)
    with catch(block, "output") as caught, torch.no_grad():
        model(**batch.inputs(model))
    states = caught.last.float()
    real = batch.attention_mask.to(states.device)
    if len(texts) and bool((batch.input_ids[:, 0] == (tokenizer.bos_token_id or -1)).all()):
        real = real * (real.cumsum(1) > 1)
    means: Tensor = (states * real[..., None]).sum(1) / real.sum(1, keepdim=True).clamp(min=1)
    return means
