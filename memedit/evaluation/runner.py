"""Runs methods over a data set in one setting, and goes on where it was broken off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from memedit.errors import ConflictError, MemeditError
from memedit.evaluation.base_answers import BaseAnswers
from memedit.evaluation.cases import EditCase, Metric
from memedit.evaluation.measuring import TOKENS_ADDED, Measuring
from memedit.evaluation.protocols import Cost, Progress
from memedit.evaluation.questions import Amounts, CaseQuestions, questions_of
from memedit.evaluation.rivals import LiveEdits
from memedit.evaluation.rows import Row, Scored, rows
from memedit.evaluation.run_folder import RunFolder
from memedit.evaluation.settings import Mode, Setting
from memedit.evaluation.spending import settle
from memedit.evaluation.treatments import Among, Plain, Session, Sessions
from memedit.types import EditRequest

SECONDS = "seconds_per_edit"
ADDED = "added_bytes"
AGE = "edit_success_by_age"
_AGES = 10
_NAMED = 20
"""Of the cases whose edits a sequence passes over so many are named."""

Methods = Sequence[tuple[str, Callable[[], Sessions]]]
"""Name, and what makes the treatment once it is needed."""


@dataclass(frozen=True)
class Runner:
    """One data set, one model, one setting."""

    folder: RunFolder
    base: BaseAnswers
    model: Any
    """The unedited model: a `protocols.Model`, with `log_probabilities` where it scores."""
    cases: Sequence[EditCase]
    setting: Setting
    amounts: Amounts
    company: Sequence[EditCase] = ()
    """In a batch of all: the whole data set, `cases` among it. The edits of all of it are in force,
    and `cases` are asked about."""
    implied: Callable[[EditRequest], EditRequest | None] = lambda edit: None
    """What an edit says of its target: a prompt that may ask it is not unrelated."""

    def run(self, methods: Methods, progress: Progress | None = None) -> list[Row]:
        """Measure methods one after another; see `run_settings`."""
        return run_settings([self], methods, progress)

    def asked(self) -> list[CaseQuestions]:
        """Choose the cases and what is asked of them.

        Far questions are drawn from all `cases`, so that every setting asks a case the same.
        """
        chosen = self.setting.chosen(self.cases)
        return questions_of(chosen, self.amounts, self.cases, self.company)

    def finish(self) -> list[Row]:
        """Write the rows of everything in the folder, and that the run is over."""
        found = self.rows()
        self.folder.write_rows(found)
        self.folder.manifest["worked"] = self.folder.worked
        self.folder.manifest["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
        self.folder.write_manifest()
        return found

    @property
    def done(self) -> set[tuple[str, str, str]]:
        """What is finished: method, setting, case."""
        return self.folder.done

    def rows(self) -> list[Row]:
        """Sum up everything that the folder holds, of all settings."""
        scored = self.folder.scored()
        seed = self.amounts.seed
        length: dict[str, int] = {}
        for one in scored:
            if one.age is not None:
                length[one.setting] = max(length.get(one.setting, 0), one.age + 1)
        by_age = [
            replace(one, metric=AGE, kind=_age_group(one.age, length[one.setting]), also={})
            for one in scored
            if one.age is not None and one.metric == Metric.EDIT_SUCCESS
        ]
        return [*rows(scored, seed=seed), *rows(by_age, seed=seed), *self._costs()]

    def _costs(self) -> list[Row]:
        """Sum up over all tasks: time as a whole, memory as the most of it; no intervals."""
        parts: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for part in self.folder.costs():
            parts.setdefault((part["method"], part["setting"]), []).append(part)
        found = []
        for (method, setting), own in parts.items():
            edits = sum(part["edits"] for part in own)
            sums = {SECONDS: sum(part["seconds"] for part in own) / edits}
            if added := [part[ADDED] for part in own if part.get(ADDED) is not None]:
                sums[ADDED] = float(max(added))
            found += [
                Row(method, "", setting, name, "", None, value, None, None, edits)
                for name, value in sums.items()
            ]
        return found

    def measured(
        self, name: str, treatment: Sessions, asked: Sequence[CaseQuestions]
    ) -> Iterator[int]:
        """Measure one method; yields how many more cases are finished.

        Raises:
            ConflictError: it did not leave the model as it found it.

        """
        of_case = {one.case.id: one for one in asked}
        measuring = Measuring(
            name, str(self.setting), self.base, self.model, self.amounts, self._live(asked)
        )
        measuring.ask_base(asked)
        settle()
        self.base.sealed = True
        try:
            for part in self.setting.parts([one.case for one in asked], treatment.at_once):
                here = [of_case[case.id] for case in part]
                if self.setting.mode is Mode.SINGLE:  # what is finished need not be edited again
                    here = self.left(name, here)
                if self.left(name, here):
                    yield self._part(name, treatment, measuring, here)
        finally:
            self.base.sealed = False
            self._note(name, measuring.left_out)
        if self.model.fingerprint != self.base.fingerprint:
            raise ConflictError(
                f"{name} left the model changed: its fingerprint is another one than before. "
                "Nothing that was measured after it can be trusted"
            )

    def _live(self, asked: Sequence[CaseQuestions]) -> LiveEdits | None:
        """Return what is in force together, where that is more than a case's own edits."""
        if self.setting.mode is Mode.SINGLE:
            return None
        cases = self.company or [one.case for one in asked]
        edits = [request for case in cases for request in case.requests]
        return LiveEdits([*edits, *filter(None, map(self.implied, edits))])

    def left(self, name: str, asked: Sequence[CaseQuestions]) -> list[CaseQuestions]:
        """Return what of `asked` is not finished with a method."""
        return [one for one in asked if self._unit(name, one) not in self.done]

    def _part(
        self,
        name: str,
        treatment: Sessions,
        measuring: Measuring,
        here: Sequence[CaseQuestions],
    ) -> int:
        before = replace(treatment.cost)
        # Of several cases that are edited together it is not known what each of them took.
        apart = self.setting.mode is Mode.SINGLE and treatment.at_once == 1
        treatment.cost.added_bytes = None
        with self._session(treatment, measuring, here) as session:
            new = {one.case.id for one in self.left(name, here)}
            refused = session.refused if isinstance(session, Plain) else {}
            found = measuring.measure(session, here, self._ages(here, refused))
        spent = _difference(treatment.cost, before)
        for one, scored in zip(here, found, strict=True):
            if one.case.id not in new:
                continue
            if apart and spent.edits:
                scored = [*scored, _seconds(scored[0], spent)]
            self.folder.add(self._unit(name, one), scored)
        if spent.edits:
            self.folder.add_cost(
                {
                    "method": name,
                    "setting": str(self.setting),
                    "edits": spent.edits,
                    "seconds": spent.seconds,
                    ADDED: spent.added_bytes,
                    "tokens_added": _tokens_added(found),
                }
            )
        return len(new)

    @contextmanager
    def _session(
        self, treatment: Sessions, measuring: Measuring, here: Sequence[CaseQuestions]
    ) -> Iterator[Session]:
        """Open a session; a single edit that a method refuses is named, and nothing is edited.

        Of a sequence it is named and passed over. Of edits that are made together none may fail:
        it could not be told what was measured then.
        """
        cases = self.company or [one.case for one in here]
        edits = [case.requests for case in cases]
        with ExitStack() as stack:
            try:
                session = stack.enter_context(treatment.session(edits, self.setting.mode))
            except MemeditError as error:
                if self.setting.mode is not Mode.SINGLE or treatment.at_once > 1:
                    raise
                reason = f"scored as the unedited model, since the edit was refused: {error}"
                measuring.left_out[("edits", reason)] += 1
                session = Plain(self.base, self.model)
            if isinstance(session, Plain) and session.refused:
                measuring.left_out[_passed_over(session.refused, cases)] += len(session.refused)
            if self.company:
                place = {case.id: number for number, case in enumerate(cases)}
                session = Among(session, [place[one.case.id] for one in here])
            yield session

    def _ages(
        self, here: Sequence[CaseQuestions], refused: Collection[int] = ()
    ) -> list[int | None]:
        """Return for each case how many edits were made after its own; None: its was not made."""
        ages: list[int | None] = [None] * len(here)
        if self.setting.mode is Mode.SEQUENTIAL:
            after = 0
            for place in reversed(range(len(here))):
                if place not in refused:
                    ages[place] = after
                    after += len(here[place].case.requests)
        return ages

    def _unit(self, name: str, one: CaseQuestions) -> tuple[str, str, str]:
        return (name, str(self.setting), one.case.id)

    def _note(self, name: str, left_out: Counter[tuple[str, str]]) -> None:
        notes = self.folder.manifest.setdefault("not_scored", [])
        setting = str(self.setting)
        for (what, reason), n in left_out.items():
            notes.append({"what": f"{name}: {what}", "setting": setting, "reason": reason, "n": n})
        self.folder.write_manifest()


def run_settings(
    runners: Sequence[Runner], methods: Methods, progress: Progress | None = None
) -> list[Row]:
    """Measure methods one after another, each in every setting; return all rows of the folder.

    Args:
        runners: of one folder, data set and model; they differ in their setting.
        methods: each is made once, for all settings.
        progress: called with (cases done, cases in all, over all methods and settings); first with
            what an earlier, broken-off run has done.

    Raises:
        ConflictError: a method did not leave the model as it found it.

    """
    plans = [(runner, runner.asked()) for runner in runners]
    total = len(methods) * sum(len(asked) for _, asked in plans)
    left = sum(len(runner.left(name, asked)) for name, _ in methods for runner, asked in plans)
    done = total - left
    if progress is not None:
        progress(done, total)
    for name, make in methods:
        treatment: Sessions | None = None
        for runner, asked in plans:
            if not runner.left(name, asked):
                continue
            if treatment is None:
                treatment = make()
            for finished in runner.measured(name, treatment, asked):
                done += finished
                if progress is not None:
                    progress(done, total)
    return runners[-1].finish()


def _difference(now: Cost, before: Cost) -> Cost:
    return Cost(now.edits - before.edits, now.seconds - before.seconds, now.added_bytes)


def _passed_over(refused: Mapping[int, str], cases: Sequence[EditCase]) -> tuple[str, str]:
    """Name the cases of a sequence whose edits were refused, and why the first one was."""
    names = [cases[place].id for place in refused]
    named = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    why = next(iter(refused.values()))
    reason = f"refused, so that the sequence went on without them ({named}); the first one: {why}"
    return f"of {len(cases)} cases' edits", reason


def _seconds(like: Scored, spent: Cost) -> Scored:
    return replace(
        like,
        metric=SECONDS,
        kind="",
        scoring=None,
        prompt="",
        expected=(),
        said="",
        base_said="",
        score=spent.seconds / spent.edits,
        verdict="",
        also={},
    )


def _tokens_added(found: Sequence[Sequence[Scored]]) -> float | None:
    added = [one.score for scored in found for one in scored if one.metric == TOKENS_ADDED]
    return sum(added) / len(added) if added else None


def _age_group(age: int, longest: int) -> str:
    """Name the group of an age: tenths of the sequence, the newest edits first."""
    width = max(1, -(-longest // _AGES))
    first = age // width * width
    last = min(first + width, longest) - 1
    digits = len(str(longest))
    ages = f"{first:0{digits}}" if first == last else f"{first:0{digits}}-{last:0{digits}}"
    return f"{ages} edits later"
