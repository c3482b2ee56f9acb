"""One sequence being continued: its tokens, its text, and when it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from memedit.engine.detokenizer import Detokenizer
from memedit.engine.sampling import SamplingParams, TokenScore
from memedit.engine.stopping import StopMatcher

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Delta:
    """What came to a sequence since the last delta."""

    text: str = ""
    tokens: tuple[int, ...] = ()
    scores: tuple[TokenScore, ...] = ()
    """One for each token, where asked for."""
    prompt_scores: tuple[TokenScore, ...] | None = None
    """In a sequence's first delta, where asked for."""
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None
    error: Exception | None = None
    """Set in a last delta: the engine could not go on."""


class GeneratedSequence:
    """A prompt and the tokens that the engine has added to it.

    Touched only by the engine's thread once submitted; ``cancel`` may be called from any thread.
    """

    def __init__(
        self,
        prompt: Sequence[int],
        params: SamplingParams,
        tokenizer: Any,
        listener: Callable[[Delta], None],
        *,
        stream: bool,
    ) -> None:
        """Prepare a sequence.

        Args:
            prompt: token ids, at least one.
            params: how to continue it.
            tokenizer: turns its tokens into text.
            listener: called on the engine's thread; must not block.
            stream: a delta for every token that shows something, or one at the end.

        """
        self.prompt = list(prompt)
        self.params = params
        self.output: list[int] = []
        self.finished = False
        self.cancelled = False
        self._listener = listener
        self._stream = stream
        self._detokenizer = Detokenizer(tokenizer, skip_special_tokens=params.skip_special_tokens)
        self._stops = StopMatcher(params.stop, include=params.include_stop)
        self._text: list[str] = []
        self._tokens: list[int] = []
        self._scores: list[TokenScore] = []
        self._prompt_scores: tuple[TokenScore, ...] | None = None

    @property
    def active(self) -> bool:
        """Whether the engine still has to work on it."""
        return not (self.finished or self.cancelled)

    def cancel(self) -> None:
        """Ask the engine to drop the sequence; nothing more is delivered."""
        self.cancelled = True

    def score_prompt(self, found: Sequence[TokenScore]) -> None:
        """Take the prompt's own log-probabilities, to be sent with the first delta."""
        self._prompt_scores = tuple(found)

    def append(self, token: int, score: TokenScore | None) -> None:
        """Take the next token; deliver what it shows, and end where it ends the sequence."""
        self.output.append(token)
        self._tokens.append(token)
        if score is not None:
            self._scores.append(score)
        by_model, on_request = token in self.params.eos_ids, token in self.params.stop_ids
        early = len(self.output) < self.params.min_tokens
        if (by_model or on_request) and not early:
            if self.params.include_stop:
                self._text.append(self._stops.push(self._detokenizer.push(token)).text)
            return self.finish("stop", token if on_request else None)
        text = self._detokenizer.push(token)
        if early:
            self._text.append(text)
        else:
            released = self._stops.push(text)
            self._text.append(released.text)
            if released.stop is not None:
                return self._deliver("stop", released.stop)
        if len(self.output) >= self.params.max_tokens:
            return self.finish("length")
        if self._stream and (any(self._text) or self._scores):
            self._deliver()

    def finish(self, reason: FinishReason, stop_reason: str | int | None = None) -> None:
        """End the sequence and deliver the rest."""
        self._text.append(self._stops.rest())
        self._deliver(reason, stop_reason)

    def fail(self, error: Exception) -> None:
        """End the sequence because the engine could not go on."""
        self.finished = True
        if not self.cancelled:
            self._listener(Delta(error=error))

    def _deliver(
        self, reason: FinishReason | None = None, stop_reason: str | int | None = None
    ) -> None:
        self.finished = reason is not None
        delta = Delta(
            text="".join(self._text),
            tokens=tuple(self._tokens),
            scores=tuple(self._scores),
            prompt_scores=self._prompt_scores,
            finish_reason=reason,
            stop_reason=stop_reason,
        )
        self._text, self._tokens, self._scores, self._prompt_scores = [], [], [], None
        if not self.cancelled:
            self._listener(delta)
