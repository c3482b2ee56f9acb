"""What is measured: an edit with the probes that say whether it holds and what else it moved.

Probes belong to evaluation alone; nothing of them ever reaches a memory that serves.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from memedit.types import EditRequest


class Metric(StrEnum):
    """What a probe asks after (survey, section 3.5)."""

    EDIT_SUCCESS = "edit_success"
    """The edit's own prompt is answered with its target ("reliability")."""
    GENERALITY = "generality"
    """So is the prompt in other words."""
    PORTABILITY = "portability"
    """What follows from the edit holds too (aliases, one hop further, the inverse)."""
    LOCALITY = "locality"
    """What does not follow from it is answered as before."""
    MULTIHOP = "multihop"
    """A question whose answer leans on the edits through several hops."""
    RETENTION = "retention"
    """Sanitation: knowledge that has to stay while other knowledge is erased."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One prompt with what counts as an answer to it.

    For locality `answers` is what the data set holds to be true; what is scored there is whether
    the answer stays what the unedited model said.
    """

    metric: Metric
    kind: str
    """The data set's own name of the group, e.g. `Subject_Aliasing`; `""` where it has none."""
    prompt: str
    answers: tuple[str, ...]
    """Any of these is right: the answer and its aliases, the preferred one first."""


@dataclass(frozen=True, slots=True)
class Replies:
    """ConvSent: replies to `prompt` of the sentiment that is wanted, and of the other one."""

    prompt: str
    wanted: tuple[str, ...]
    unwanted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EditCase:
    """One record of a benchmark: its edits (one, in MQuAKE several) and its probes."""

    id: str
    """Where it stands, e.g. `zsre_test[17]`."""
    task: str
    """The data set or the task of KnowEdit, e.g. `zsre`, `wiki_recent`, `convsent`."""
    requests: tuple[EditRequest, ...]
    probes: tuple[Probe, ...]
    replies: Replies | None = None
    relation: str = ""
    """The relation that the edit changes, where the data set names it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A record, or a probe of one, that cannot be scored or should not be: counted and named."""

    where: str
    """The record, e.g. `zsre_test[17].portability.Reasoning[0]`."""
    reason: str
    dropped: bool = True
    """False: it is scored all the same, and the report says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file that cases were read from."""

    format: str
    """The registry's name of its format, e.g. `knowedit`."""
    file: str
    """Its name, without the folder."""
    sha256: str
    task: str


@dataclass(frozen=True)
class Dataset:
    """The cases of a benchmark, and what is wrong with it."""

    name: str
    fingerprint: str
    """SHA-256 of the files that were read."""
    cases: tuple[EditCase, ...]
    faults: tuple[Fault, ...] = ()
    records: int = 0
    """How many records the files hold, scored or not."""
    probes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """(task, metric, kind) -> how many probes."""
    files: tuple[DataFile, ...] = ()
    """Those of the tasks that were asked for."""
    unfit: tuple[str, ...] = ()
    """A sentence on each file without any case: how many records it has, and why none is one."""
    left_out: tuple[str, ...] = ()
    """Tasks of which the limit takes no case."""
