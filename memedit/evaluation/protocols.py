"""What evaluation asks of a model and of a method; it knows no concrete one of either."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from memedit.types import EditRequest


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said to a prompt, greedily, up to its natural end or the limit."""

    text: str
    finished: bool
    """Whether it ended by itself."""
    prompt_tokens: int
    """Tokens of the prompt as the model saw it, inserted text included; -1 where unknown."""


@dataclass(frozen=True, slots=True)
class Forced:
    """A target fed to a model token by token after its prompt.

    Source: survey, equation 10 (teacher forcing).
    """

    correct: tuple[bool, ...]
    """Per target token: whether it is the argmax after the prompt and the target before it."""
    log_probability: tuple[float, ...]
    """Per target token, natural logarithm."""
    predicted: tuple[int, ...] = ()
    """Per target token: the argmax itself, which says whether an edit moved a locality probe."""

    @property
    def accuracy(self) -> float:
        """The share of target tokens that are the argmax."""
        return sum(self.correct) / len(self.correct)


@runtime_checkable
class Model(Protocol):
    """Something that answers prompts: a local checkpoint, or a proxy over HTTP.

    A prompt is plain text. Whether it is put as a chat turn or continued as it stands is the
    model's own setting, the same for every method it is compared under.
    """

    name: str
    fingerprint: str
    """Changes when the answers may change: weights, tokenizer, dtype and prompt form."""
    scores: bool
    """Whether `score` can be asked; a chat API cannot."""

    def generate(
        self, prompts: Sequence[str], max_new_tokens: int, *, min_new_tokens: int = 0
    ) -> list[Answer]:
        """Greedy answers, one per prompt, in order; batched.

        With `min_new_tokens` the end is held back for so long, where the model can: fluency is
        measured on texts of one length. A prompt that is too long for the model is answered with
        an unfinished empty text.
        """
        ...

    def score(self, prompts: Sequence[str], targets: Sequence[str]) -> list[Forced]:
        """Teacher-forced scores of `targets[i]` after `prompts[i]`; batched."""
        ...


@dataclass(slots=True)
class Cost:
    """What applying edits has cost so far; the runner reads it after every case or batch."""

    edits: int = 0
    seconds: float = 0.0
    """Of computing the edits, without asking probes."""
    added_bytes: int | None = None
    """The most that computing edits took beyond what was held before; `None`: not measured."""


class Treatment(Protocol):
    """A method, ready to be applied to a model: `none`, in-context, baked, or a running proxy."""

    name: str
    """The registry's name, e.g. `ice`, `ft-m`."""
    cost: Cost

    def edited(self, requests: Sequence[EditRequest]) -> AbstractContextManager[Model]:
        """Inside, the model answers with the edits applied, and as before once it is left.

        Contexts nest: an inner one edits what the outer one left (sequential editing).
        """
        ...


Progress = Callable[[int, int], None]
"""Called with (done, in all)."""
