"""A batch of edits that is being learned: its tokens, what it replaces, how it is graded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from memedit.adapters.base import Adapter
from memedit.adapters.grading import grades
from memedit.adapters.learned import HeldEdit, Learned, superseded


class Lesson:
    """What ``Adapter._learn`` is given, for methods whose edits are replaced one by one.

    Args:
        adapter: the copy that learns, with what it held before.
        model: frozen, without the adapter.
        tokenizer: its tokenizer.
        new: the batch.
        replaces: held edits of which it has other versions.
        at_once: rows of one forward.

    """

    def __init__(
        self,
        adapter: Adapter[Any],
        model: nn.Module,
        tokenizer: Any,
        new: Sequence[HeldEdit],
        replaces: Sequence[str],
        at_once: int,
    ) -> None:
        self._adapter, self._model, self._tokenizer = adapter, model, tokenizer
        self._at_once = at_once
        self.rows = [adapter.tokens(tokenizer, one.request) for one in new]
        """Prompt and target of each new edit."""
        self.held = {one.edit.id: adapter.tokens(tokenizer, one.request) for one in adapter.held}
        """Those of the edits that were held, by id."""
        self.gone = set(replaces) | superseded(self.held, self.rows)
        """The held edits that the new ones take the place of."""
        self._before, _ = grades(model, tokenizer, self.rows, at_once)

    def learned(self, steps: int) -> Learned:
        """Grade the batch with what the adapter holds by now; ``steps`` were taken."""
        adapter, model = self._adapter, self._model
        with adapter._attached(model) as attachment:
            losses, said = grades(model, self._tokenizer, self.rows, self._at_once, attachment)
        old = tuple(one.edit for one in adapter.held if one.edit.id in self.gone)
        return Learned(tuple(self._before), tuple(losses), tuple(said), steps, old)
