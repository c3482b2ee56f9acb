"""What the unedited model says, asked once: by all methods, and by later runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from memedit.errors import ConflictError
from memedit.evaluation.protocols import Answer, Forced, Model

T = TypeVar("T")
Key = tuple[str, ...]


class BaseAnswers:
    """A model that is asked a question only once; a `protocols.Model` itself.

    What it said is kept in a file of JSON lines that several runs may append to at once; a line
    that was cut off is asked again.  The file's name is to hold the model's fingerprint.

    Args:
        model: the unedited model, which must be unedited whenever it is asked here.
        file: where answers are kept; `None` keeps them in memory alone.

    """

    def __init__(self, model: Model, file: Path | None = None) -> None:
        self.model = model
        self.name = model.name
        self.fingerprint = model.fingerprint
        self.scores = model.scores
        self.file = file
        self.sealed = False
        """While true, the model may be edited: a question that was not asked before is an error."""
        self._known: dict[Key, Any] = {}
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._read(file)

    def generate(
        self, prompts: Sequence[str], max_new_tokens: int, *, min_new_tokens: int = 0
    ) -> list[Answer]:
        """Answer; only what was never asked is asked now."""

        def ask(missing: Sequence[int]) -> list[Answer]:
            texts = [prompts[place] for place in missing]
            return self.model.generate(texts, max_new_tokens, min_new_tokens=min_new_tokens)

        length = (str(max_new_tokens), str(min_new_tokens))
        keys = [("said", *length, prompt) for prompt in prompts]
        return self._all(keys, ask, _answer_out, _answer_in)

    def score(self, prompts: Sequence[str], targets: Sequence[str]) -> list[Forced]:
        """Score; only what was never scored is scored now."""

        def ask(missing: Sequence[int]) -> list[Forced]:
            return self.model.score(
                [prompts[place] for place in missing], [targets[place] for place in missing]
            )

        pairs = zip(prompts, targets, strict=True)
        keys = [("forced", prompt, target) for prompt, target in pairs]
        return self._all(keys, ask, _forced_out, _forced_in)

    def _all(
        self,
        keys: Sequence[Key],
        ask: Callable[[Sequence[int]], list[T]],
        out: Callable[[T], Any],
        back: Callable[[Any], T],
    ) -> list[T]:
        missing: dict[Key, int] = {}
        for place, key in enumerate(keys):
            if key not in self._known:
                missing.setdefault(key, place)
        if missing and self.sealed:
            raise ConflictError(
                f"the unedited model was not asked {next(iter(missing))} before it was edited"
            )
        if missing:
            found = ask(list(missing.values()))
            new = {key: out(one) for key, one in zip(missing, found, strict=True)}
            self._known |= new
            self._write(new)
        return [back(self._known[key]) for key in keys]

    def _write(self, new: dict[Key, Any]) -> None:
        if self.file is None:
            return
        lines = "".join(f"{json.dumps([list(key), value])}\n" for key, value in new.items())
        with self.file.open("a", encoding="ascii") as file:
            file.write(lines)

    def _read(self, path: Path) -> None:
        if not path.exists():
            return
        text = path.read_text(encoding="ascii", errors="replace")
        if text and not text.endswith("\n"):
            # what is appended next must not stand on the line that was cut off
            with path.open("a", encoding="ascii") as file:
                file.write("\n")
        for line in text.splitlines():
            try:
                key, value = json.loads(line)
                self._known[tuple(key)] = value
            except (ValueError, TypeError):
                continue  # cut off


def _answer_out(answer: Answer) -> list[Any]:
    return [answer.text, answer.finished, answer.prompt_tokens]


def _answer_in(value: Any) -> Answer:
    return Answer(*value)


def _forced_out(forced: Forced) -> list[Any]:
    return [forced.correct, forced.log_probability, forced.predicted]


def _forced_in(value: Any) -> Forced:
    return Forced(*(tuple(part) for part in value))
