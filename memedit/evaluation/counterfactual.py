"""SERAC under evaluation: what an edit answers by itself is asked of a model of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from memedit.evaluation.prompting import InContext, InjectedSession, Injector
from memedit.evaluation.protocols import Answer, Forced
from memedit.evaluation.treatments import Distributions
from memedit.modeling.fingerprint import tokenizer_fingerprint

T = TypeVar("T")


@dataclass(frozen=True)
class TwoModels:
    """The model, and the counterfactual one that is asked in its place; both `LocalModel`s."""

    base: Any
    counterfactual: Any

    @property
    def name(self) -> str:
        """The model's."""
        return str(self.base.name)

    @property
    def fingerprint(self) -> str:
        """The model's: it is what was there before any edit."""
        return str(self.base.fingerprint)

    @property
    def scores(self) -> bool:
        """Whether both cut a text into the same tokens, so that scores can be laid side by side."""
        words = [tokenizer_fingerprint(one.tokenizer) for one in (self.base, self.counterfactual)]
        return bool(self.base.scores) and words[0] == words[1]

    def is_chat(self, prompt: str) -> bool:
        """Tell whether a prompt is put as a chat turn."""
        return bool(self.base.is_chat(prompt))


class SeracSession(InjectedSession):
    """Prompts of which each goes to one of two models."""

    _model: TwoModels

    def generate(
        self,
        prompts: Sequence[str],
        owners: Sequence[int],
        max_new_tokens: int,
        *,
        min_new_tokens: int = 0,
    ) -> list[Answer]:
        """Answer the prompts, each by its model."""

        def asked(model: Any, texts: list[str], chat: list[bool], places: list[int]) -> Any:
            return model.generate(texts, max_new_tokens, min_new_tokens=min_new_tokens, chat=chat)

        return self._shared(prompts, owners, asked)

    def score(
        self, prompts: Sequence[str], owners: Sequence[int], targets: Sequence[str]
    ) -> list[Forced]:
        """Score targets, each by its prompt's model."""

        def asked(model: Any, texts: list[str], chat: list[bool], places: list[int]) -> Any:
            return model.score(texts, [targets[i] for i in places], chat=chat)

        return self._shared(prompts, owners, asked)

    def log_probabilities(
        self, prompts: Sequence[str], owners: Sequence[int], targets: Sequence[str]
    ) -> Distributions:
        """Return distributions, each of its prompt's model."""

        def asked(model: Any, texts: list[str], chat: list[bool], places: list[int]) -> Any:
            return model.log_probabilities(texts, [targets[i] for i in places], chat=chat)

        return self._shared(prompts, owners, asked)

    def _shared(
        self,
        prompts: Sequence[str],
        owners: Sequence[int],
        asked: Callable[[Any, list[str], list[bool], list[int]], list[T]],
    ) -> list[T]:
        """Ask each model for its share, and put the answers into the order of the prompts."""
        injected = self._injected(prompts, owners)
        chat = self._chat(prompts)
        found: dict[int, T] = {}
        for elsewhere in (False, True):
            places = [i for i, one in enumerate(injected) if one.elsewhere is elsewhere]
            if places:
                model = self._model.counterfactual if elsewhere else self._model.base
                texts = [injected[i].text for i in places]
                answers = asked(model, texts, [chat[i] for i in places], places)
                found |= dict(zip(places, answers, strict=True))
        return [found[i] for i in range(len(injected))]


class Serac(InContext):
    """`serac`: router, scope classifier and counterfactual model, as a proxy has them.

    Args:
        name: what reports call it.
        injector: memory and router.
        models: the model and the counterfactual one.

    """

    session_class = SeracSession

    def __init__(self, name: str, injector: Injector, models: TwoModels) -> None:
        super().__init__(name, injector, models)
