"""A model that is a table of answers, and a method that writes into the table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from memedit.errors import InvalidInputError
from memedit.evaluation.cases import EditCase, Metric, Probe
from memedit.evaluation.protocols import Answer, Cost, Forced
from memedit.evaluation.settings import Mode
from memedit.evaluation.treatments import Plain, Session
from memedit.types import EditRequest

LANDS = ("Quendoria", "Marovia", "Valdoria", "Orvel", "Tamsin", "Brand")


class Table:
    """Says what is written for a prompt; a target's characters are its tokens."""

    name = "table"

    def __init__(self, scores: bool = True) -> None:
        self.scores = scores
        self.asked: list[str] = []
        self.facts = {f"The capital of {land} is": f"Old {land}" for land in LANDS}
        self.facts |= {f"The river of {land} is the": f"Wide {land}" for land in LANDS}

    @property
    def fingerprint(self) -> str:
        return str(sorted(self.facts.items()))

    def generate(
        self, prompts: Sequence[str], max_new_tokens: int, *, min_new_tokens: int = 0
    ) -> list[Answer]:
        self.asked += prompts
        return [Answer(self.facts.get(prompt, "?"), True, len(prompt)) for prompt in prompts]

    def score(self, prompts: Sequence[str], targets: Sequence[str]) -> list[Forced]:
        found = []
        for prompt, target in zip(prompts, targets, strict=True):
            said = self.facts.get(prompt, "?").ljust(len(target))[: len(target)]
            right = tuple(a == b for a, b in zip(said, target, strict=True))
            logs = tuple(-0.1 if one else -3.0 for one in right)
            found.append(Forced(right, logs, tuple(map(ord, said))))
        return found


class Overwrite:
    """Writes the target; ``keeps`` edits are remembered, older ones are forgotten."""

    at_once = 1

    def __init__(self, model: Table, *, keeps: int = 1_000, refuses: str = "") -> None:
        self.name = "overwrite"
        self.cost = Cost()
        self.model = model
        self.keeps = keeps
        self.refuses = refuses
        self.leaves_a_trace = False

    @contextmanager
    def session(self, edits: Sequence[Sequence[EditRequest]], mode: Mode) -> Iterator[Session]:
        before = dict(self.model.facts)
        with ExitStack() as stack:
            stack.callback(self._restore, before)
            flat = [request for requests in edits for request in requests]
            refused: dict[int, str] = {}
            for number, request in enumerate(flat):
                if request.subject == self.refuses:
                    reason = f"will not edit {request.subject}"
                    if mode is not Mode.SEQUENTIAL:
                        raise InvalidInputError(reason)
                    refused[number] = reason
                    continue
                self.model.facts[request.prompt] = request.target_new
                self.cost.edits += 1
                self.cost.seconds += 0.5
                if number >= self.keeps:
                    old = flat[number - self.keeps].prompt
                    self.model.facts[old] = before[old]
            yield Plain(self.model, refused=refused)

    def _restore(self, before: dict[str, str]) -> None:
        self.model.facts = before | ({"a trace": "is left"} if self.leaves_a_trace else {})


def case_of(land: str, target: str | None = None) -> EditCase:
    prompt = f"The capital of {land} is"
    new = target or f"New {land}"
    request = EditRequest(prompt=prompt, subject=land, target_new=new)
    probes = (
        Probe(Metric.EDIT_SUCCESS, "", prompt, (new,)),
        Probe(Metric.LOCALITY, "Relation", f"The river of {land} is the", (f"Wide {land}",)),
    )
    return EditCase(f"toy[{land}]", "toy", (request,), probes)


CASES = tuple(case_of(land) for land in LANDS)
