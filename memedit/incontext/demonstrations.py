"""The demonstrations of IKE: facts with questions that they answer, and questions they leave alone.

Not edits: a store of its own, with an index of its own.  One is shipped; ``memedit demos build``
writes others.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Final, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from memedit.errors import DatasetError, InvalidInputError, MissingResourceError
from memedit.incontext.base import Encoder, Vectors
from memedit.indexes.base import NO_KEY, VectorIndex
from memedit.indexes.catalog import AUTO, index_class, open_index
from memedit.indexes.names import words_of
from memedit.types import Text

log = logging.getLogger(__name__)

FILE: Final = "demonstrations.jsonl"
_INDEX: Final = "index"
_MANIFEST: Final = "store.json"
_BATCH: Final = 64


class Answered(BaseModel):
    """A question or a cloze, with its answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: Text
    answer: Text


class Demonstration(Answered):
    """A fact that shows how facts are to be used: one line of a file.

    ``prompt`` and ``rephrases`` are answered with the fact's ``answer``; ``retain`` are neighbours
    that keep their own answers beside it.
    """

    fact: Text = Field(description="The fact as a sentence.")
    rephrases: tuple[Text, ...] = ()
    retain: tuple[Answered, ...] = ()


@dataclass(frozen=True)
class Indexed:
    """A demonstration with its words, so that who is named in it is found quickly."""

    said: Demonstration

    @cached_property
    def words(self) -> str:
        """The words of the fact and its prompts, each between spaces."""
        return as_words(self.said.fact, self.said.prompt, *self.said.rephrases)

    @cached_property
    def retained(self) -> tuple[tuple[Answered, str], ...]:
        """The neighbours with their words."""
        return tuple((one, as_words(one.prompt, one.answer)) for one in self.said.retain)


def as_words(*texts: str) -> str:
    """Return the words of texts without case and accents, each between spaces.

    >>> as_words("Zoë's") in as_words("Where is Zoe's home?")
    True
    """
    return f" {' | '.join(' '.join(words_of(text).words) for text in texts)} "


class DemonstrationStore:
    """Demonstrations and the vectors of their facts.  Read only: safe for several threads.

    Args:
        demonstrations: in the order of the index's keys.
        index: the vectors of their facts; it is only searched from here on.
        encoder: fingerprint of the encoder that made them.

    """

    def __init__(
        self, demonstrations: Sequence[Demonstration], index: VectorIndex, encoder: str
    ) -> None:
        self.demonstrations = tuple(map(Indexed, demonstrations))
        self.encoder = encoder
        self._index = index
        self._lock = threading.Lock()  # an index is not safe for several threads

    def __len__(self) -> int:
        return len(self.demonstrations)

    @classmethod
    def build(
        cls, demonstrations: Sequence[Demonstration], encoder: Encoder, kind: str = AUTO
    ) -> Self:
        """Encode demonstrations, by their facts, into an index of the registered ``kind``."""
        index = open_index(kind, encoder.dim)
        for start in range(0, len(demonstrations), _BATCH):
            batch = demonstrations[start : start + _BATCH]
            vectors = encoder.encode([one.fact for one in batch])
            index.add(np.arange(start, start + len(batch), dtype=np.int64), vectors)
        return cls(demonstrations, index, encoder.fingerprint)

    @classmethod
    def open(cls, path: Path | None, encoder: Encoder, kind: str = AUTO) -> Self:
        """Open a folder that ``save`` wrote, a JSON Lines file, or the shipped set (``None``).

        Vectors of another encoder, or of another version of the file, are made anew.

        Raises:
            MissingResourceError: there is nothing at ``path``.
            DatasetError: a line is no demonstration.

        """
        if path is None:
            return cls.build(shipped_demonstrations(), encoder, kind)
        file = path / FILE if path.is_dir() else path
        text = _read(file)
        demonstrations = read_demonstrations(text, str(file))
        index = _saved_index(path, text, encoder, kind) if path.is_dir() else None
        if index is None or len(index) != len(demonstrations):
            log.info("encoding %d demonstrations of %s", len(demonstrations), file)
            return cls.build(demonstrations, encoder, kind)
        return cls(demonstrations, index, encoder.fingerprint)

    def save(self, folder: Path) -> None:
        """Write demonstrations and index into ``folder``, which is made, or held some before.

        Raises:
            InvalidInputError: the folder holds something else, or cannot be written.

        """
        if folder.exists() and not (folder.is_dir() and _is_ours(folder)):
            raise InvalidInputError(
                f"{folder} holds something else than demonstrations; name a new folder"
            )
        text = "".join(f"{_line(one.said)}\n" for one in self.demonstrations)
        manifest = {"format": 1, "encoder": self.encoder, "sha256": _digest(text)}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / _MANIFEST).unlink(missing_ok=True)  # what is broken off is read without it
            self._index.save(folder / _INDEX)
            for name, content in ((FILE, text), (_MANIFEST, json.dumps(manifest))):
                partial = folder / f".{name}.partial"
                partial.write_text(content, encoding="utf-8", newline="\n")
                partial.replace(folder / name)
        except OSError as error:
            raise InvalidInputError(f"cannot write {folder}: {error.strerror or error}") from error

    def nearest(self, vectors: Vectors, k: int) -> list[tuple[Indexed, ...]]:
        """Return the ``k`` nearest demonstrations of each of ``vectors`` ``[n, dim]``."""
        if not len(self) or not len(vectors):
            return [()] * len(vectors)
        with self._lock:
            found = self._index.search(vectors, min(k, len(self)))
        return [
            tuple(self.demonstrations[key] for key in row if key != NO_KEY)
            for row in found.keys.tolist()
        ]


def shipped_demonstrations() -> tuple[Demonstration, ...]:
    """Return the set that comes with memedit.

    Its facts are made up, about what does not exist, so that no prompt is told an untruth about
    what does; the neighbours that keep their answers are common knowledge.
    """
    text = resources.files("memedit.incontext").joinpath(FILE).read_text(encoding="utf-8")
    return read_demonstrations(text, f"memedit/incontext/{FILE}")


def read_demonstrations(text: str, where: str) -> tuple[Demonstration, ...]:
    """Read JSON Lines; ``where`` is what errors call the file.

    Raises:
        DatasetError: names the line and what is wrong with it.

    """
    read = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            read.append(Demonstration.model_validate_json(line))
        except ValidationError as error:
            fault = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(map(str, fault["loc"])) or "line"
            raise DatasetError(
                f"{where}, line {number} is no demonstration ({place}: {fault['msg']}); expected "
                '{"fact", "prompt", "answer", "rephrases": [...], "retain": [{"prompt", '
                '"answer"}]} as "memedit demos build" writes them'
            ) from None
    return tuple(read)


def with_neighbours(
    demonstrations: Iterable[tuple[Demonstration, str]],
    neighbours: Sequence[Answered],
    encoder: Encoder,
    most: int = 2,
) -> list[Demonstration]:
    """Lend the nearest of ``neighbours`` to those that bring none, but none about their subject.

    Args:
        demonstrations: each with the subject of its fact.
        neighbours: questions with their own answers.
        encoder: says what is near.
        most: lent to one demonstration.

    """
    given = list(demonstrations)
    poor = [number for number, (one, _) in enumerate(given) if not one.retain]
    if not poor or not neighbours:
        return [one for one, _ in given]
    theirs = encoder.encode([one.prompt for one in neighbours])
    words = [as_words(one.prompt, one.answer) for one in neighbours]
    done = [one for one, _ in given]
    for start in range(0, len(poor), _BATCH):
        batch = poor[start : start + _BATCH]
        similarities = encoder.encode([given[number][0].fact for number in batch]) @ theirs.T
        for number, row in zip(batch, similarities, strict=True):
            one, subject = given[number]
            name = as_words(subject)
            order = [int(place) for place in np.argsort(-row, kind="stable")]
            lent = [neighbours[place] for place in order if name not in words[place]][:most]
            done[number] = one.model_copy(update={"retain": tuple(lent)})
    return done


def _saved_index(folder: Path, text: str, encoder: Encoder, kind: str) -> VectorIndex | None:
    """Read the saved vectors, unless they are of other texts or another encoder."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    wanted = {"format": 1, "encoder": encoder.fingerprint, "sha256": _digest(text)}
    if manifest != wanted:
        return None
    try:
        return index_class(kind).load(folder / _INDEX)
    except InvalidInputError as error:
        log.warning("%s; its vectors are made anew", error)
        return None


def _is_ours(folder: Path) -> bool:
    return (folder / FILE).is_file() or not any(folder.iterdir())


def _line(one: Demonstration) -> str:
    return json.dumps(one.model_dump(mode="json", exclude_defaults=True), ensure_ascii=False)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise MissingResourceError(
            f"no demonstrations at {file}: {why}; 'memedit demos build' writes some, and without "
            "the setting incontext.demonstrations those that come with memedit are shown"
        ) from error
