"""Edits as statements with questions that they answer: the form of PokeMQA's training data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from memedit.errors import DatasetError
from memedit.scope.training.facts import Asked, Fact
from memedit.types import EditRequest, ScopeLabel


@dataclass(frozen=True, slots=True)
class EditQuestions:
    """What a file holds."""

    facts: tuple[Fact, ...]
    """The statement is the edit's, its prompt the first question."""
    unclear: int
    """Records left out: statement and questions share no name that could be the subject."""


def read_edit_questions(file: Path) -> EditQuestions:
    """Read a list of ``{"edit": statement, "questions": [question, ...]}``.

    Raises:
        DatasetError: the file is none of this form; names the record and what is wrong with it.

    """
    try:
        records = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot read {file}: {error}; give a JSON file") from error
    if not isinstance(records, list):
        raise DatasetError(f"{file}: expected a list of records, got {type(records).__name__}")
    facts = []
    for number, record in enumerate(records):
        try:
            statement, questions = record["edit"], tuple(record["questions"])
            if not isinstance(record["questions"], list) or not questions:
                raise ValueError("its questions are no list, or an empty one")
            subject = shared_name(statement, questions)
            if subject is None:
                continue
            edit = EditRequest(
                prompt=questions[0], subject=subject, target_new=statement, statement=statement
            )
        except (KeyError, TypeError, ValueError, AttributeError, ValidationError) as error:
            why = str(error).splitlines()[0]
            raise DatasetError(
                f'{file}, record {number}: expected "edit", a statement, and "questions" that it '
                f"answers; {why}"
            ) from error
        asked = dict.fromkeys(questions)
        facts.append(
            Fact(
                "edit_questions",
                edit,
                asked=tuple(Asked(text, ScopeLabel.DIRECT, "question") for text in asked),
            )
        )
    return EditQuestions(tuple(facts), len(records) - len(facts))


def shared_name(statement: str, questions: Sequence[str]) -> str | None:
    """Return the longest run of the statement's words that all questions share, from a capital on.

    >>> shared_name("Bo Lee lives in Rome", ["Where does Bo Lee live?", "What is Bo Lee's home?"])
    'Bo Lee'
    """
    words = statement.split()
    for size in range(len(words), 0, -1):
        for first in range(len(words) - size + 1):
            name = " ".join(words[first : first + size]).strip(".,").removesuffix("'s")
            if len(name) > 2 and name[0].isupper() and all(name in text for text in questions):
                return name
    return None
