"""Where prompts mention an edit's subject, and directions that are added there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from memedit.adapters.row_choice import RowChoice, cached_tokens
from memedit.errors import InvalidInputError
from memedit.modeling.hooks import Places


@dataclass(frozen=True, slots=True)
class Direction:
    """What is added to the state of an edit's subject."""

    edit: str
    spellings: tuple[tuple[int, ...], ...]
    """The subject in tokens: as it stands in the edit's prompt, and at other places of a text."""
    vector: Tensor
    """float32 [d]"""


def spellings_of(tokenizer: Any, subject: str, own: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Return the tokens that a subject can be: its own, and with a space before it or none."""
    found = [tuple(int(n) for n in own)]
    for text in (subject, f" {subject}"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        found.append(tuple(int(n) for n in ids))
    return tuple(dict.fromkeys(one for one in found if one))


def mentioned(row: Sequence[int], directions: Sequence[Direction]) -> list[tuple[int, int]]:
    """Find subjects in a row of tokens: (number of the direction, place of the last token).

    Of a subject that occurs twice the last occurrence counts, as ``subject_span`` has it.  Tokens
    are compared, so that a name that only begins with a subject is one, too, if its tokens do.
    """
    by_tokens: dict[tuple[int, ...], list[int]] = {}
    for number, direction in enumerate(directions):
        for spelling in direction.spellings:
            by_tokens.setdefault(spelling, []).append(number)
    lengths = sorted({len(spelling) for spelling in by_tokens})
    found: dict[int, int] = {}
    for end in range(len(row), 0, -1):
        for length in lengths:
            if length <= end:
                for number in by_tokens.get(tuple(row[end - length : end]), ()):
                    found.setdefault(number, end - 1)
    return sorted(found.items())


class MentionedRows(RowChoice):
    """Directions at work on one model: in the run that reads a prompt, and in the prompt alone.

    Args:
        directions: what is added; of one subject all of them together.
        device: the model's.

    """

    def __init__(self, directions: Sequence[Direction], device: torch.device) -> None:
        super().__init__(lambda states: torch.full((len(states),), -1))
        self._directions = list(directions)
        self._vectors = torch.stack([one.vector for one in directions]).to(device)
        self._here: tuple[Places, Tensor] | None = None

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super()._before(module, args, kwargs)
        self._here = None
        last = self._last
        if last is None or cached_tokens(kwargs) > 0:
            return
        ids: Any = args[0] if args else kwargs.get("input_ids")
        if ids is None:
            raise InvalidInputError(
                "a subject is found in tokens, and the model was asked with embeddings; ask it "
                "with input_ids"
            )
        mask: Any = kwargs.get("attention_mask")
        own = mask[:, -ids.shape[1] :].bool() if isinstance(mask, Tensor) else ids == ids
        pairs: list[tuple[int, int]] = []
        numbers: list[int] = []
        for row, upto in enumerate(last.tolist()):
            columns = own[row, : upto + 1].nonzero()[:, 0].tolist()
            tokens = ids[row, columns].tolist()
            for number, place in mentioned(tokens, self._directions):
                pairs.append((row, columns[place]))
                numbers.append(number)
        if pairs:
            self._here = Places.of(pairs, len(ids)), self._vectors[numbers]

    def _decide(self, found: Any) -> None:
        """Choose nothing: what is added was settled when the prompt's tokens were seen."""

    def added(self, _: nn.Module, args: Any, output: Any) -> Any:
        """Add the directions to what a block gives out: a forward hook."""
        if self._here is None:
            return None
        places, vectors = self._here
        states: Tensor = output[0] if isinstance(output, tuple) else output
        changed = places.put(states, vectors, add=True)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed
