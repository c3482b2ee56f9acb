"""What the demo shows and what must be seen: scenes read from a file, answers judged against them.

No input or output but the reading of the file; the judging is the demo's exit code.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from memedit.cli.question import Answer
from memedit.errors import DatasetError, MissingResourceError
from memedit.faults import faults_of
from memedit.types import EditRequest


class Kind(StrEnum):
    """How a question stands to the scene's edit."""

    EDITED = "edited"
    PARAPHRASE = "paraphrase"
    UNRELATED = "unrelated"


class SceneQuestion(BaseModel):
    """One question, with the answer expected without the edit and with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    ask: str = Field(min_length=1)
    before: str = Field(min_length=1, description="The model's own answer.")
    after: str = Field(min_length=1, description="With the edit; of an unrelated one the same.")

    @model_validator(mode="after")
    def _only_edits_change_answers(self) -> Self:
        if (self.before == self.after) != (self.kind is Kind.UNRELATED):
            raise ValueError("an unrelated answer stays as it is, every other one changes")
        return self


class Scene(BaseModel):
    """One edit, and the questions asked before it, with it, and after it was taken back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    edit: EditRequest
    questions: tuple[SceneQuestion, ...] = Field(min_length=1)


class Script(BaseModel):
    """All scenes of a demo."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scenes: tuple[Scene, ...] = Field(min_length=1)
    completion: bool = Field(False, description="Continue texts instead of chatting.")
    max_tokens: int = Field(24, ge=1)

    @classmethod
    def read(cls, file: Path) -> Script:
        """Read a script.

        Raises:
            MissingResourceError: no such file.
            DatasetError: it is no script; says where and why.

        """
        try:
            return cls.model_validate(json.loads(file.read_text(encoding="utf-8")))
        except OSError as error:
            raise MissingResourceError(f"cannot read the demo's scenes: {error}") from error
        except ValidationError as error:
            raise DatasetError(f"{file} is no demo script: {faults_of(error)}") from None
        except ValueError as error:
            raise DatasetError(f"{file} is not valid JSON: {error}") from error


@dataclass(frozen=True, slots=True)
class Row:
    """One question with its answers, and what is wrong with them."""

    scene: str
    question: SceneQuestion
    before: str
    after: str
    retracted: str
    faults: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Tell whether every answer is as it should be."""
        return not self.faults


def judge(
    scene: str,
    question: SceneQuestion,
    direct: Answer,
    before: Answer,
    after: Answer,
    retracted: Answer,
) -> Row:
    """Hold the answers to one question against what the scene expects.

    Args:
        scene: its name.
        question: what was asked.
        direct: the answer of the served model itself, past the proxy.
        before: through the proxy, without the edit.
        after: through the proxy, with the edit.
        retracted: through the proxy, when the edit was taken back.

    """
    faults: list[str] = []

    def expect(holds: bool, fault: str) -> None:
        if not holds:
            faults.append(fault)

    changed = question.kind is not Kind.UNRELATED
    expect(agrees(before.text, question.before), f"before: expected {question.before!r}")
    expect(agrees(after.text, question.after), f"after: expected {question.after!r}")
    expect(before.text == direct.text, "before: not what the model says without the proxy")
    expect(retracted.text == before.text, "retracted: not the old answer, byte for byte")
    expect(before.route["route"] == "pass", f"before: route {before.route['route']}")
    expect(retracted.route["route"] == "pass", f"retracted: route {retracted.route['route']}")
    if changed:
        expect(after.route["route"] == "in_context", f"after: route {after.route['route']}")
    else:
        expect(after.route["route"] == "pass", f"after: route {after.route['route']}")
        expect(after.text == before.text, "after: an unrelated answer changed")
    return Row(scene, question, before.text, after.text, retracted.text, tuple(faults))


def agrees(answer: str, expected: str) -> bool:
    """Tell whether ``answer`` says ``expected``: the very words, whatever stands around them."""
    return f" {_words(expected)} " in f" {_words(answer)} "


def _words(text: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " for c in text.casefold()).split())
