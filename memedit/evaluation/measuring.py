"""Asks a session everything about its cases, and scores what it said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from memedit.evaluation import convsent
from memedit.evaluation.base_answers import BaseAnswers
from memedit.evaluation.cases import Metric
from memedit.evaluation.entropy import ngram_entropy
from memedit.evaluation.matching import same
from memedit.evaluation.protocols import Answer
from memedit.evaluation.questions import (
    DIVERGENCE,
    FLUENCY,
    GENERAL,
    SENTIMENT,
    Amounts,
    CaseQuestions,
    Question,
)
from memedit.evaluation.rivals import LiveEdits
from memedit.evaluation.rows import Scored, Scoring
from memedit.evaluation.scoring import score_forced, score_generated
from memedit.evaluation.treatments import Session

CLEANED = "cleaned"
"""`locality_cleaned`: without the prompts that may ask what a live edit changes. Where many edits
are in force, `retention_cleaned` is, too, and `generality_cleaned` and its like are without those
that another of them contradicts."""
_FOLLOWS = {Metric.EDIT_SUCCESS, Metric.GENERALITY, Metric.PORTABILITY}
TOKENS_ADDED = "tokens_added"
_ABOUT_THE_EDIT = {
    Metric.EDIT_SUCCESS,
    Metric.GENERALITY,
    Metric.PORTABILITY,
    Metric.MULTIHOP,
}
"""For what is to stay as it was there is no right edit; that one fires at all is what is told."""
TOO_LONG = "longer than the model can read: it counts as a wrong answer"
NOT_FINITE = "longer than the model can read: teacher forcing leaves it out"
NO_SCORES = "an API that gives no probabilities cannot be teacher-forced"
NO_OTHER_TOPIC = (
    "it is asked of replies on another topic, and no other case of this run has any: take more "
    "cases (--limit)"
)
NO_DISTRIBUTIONS = "an API gives probabilities of a few tokens, not of the whole vocabulary"


@dataclass
class Measuring:
    """One method in one setting; a session at a time."""

    method: str
    setting: str
    base: BaseAnswers
    unedited: Any
    """The unedited model itself, for whole distributions, where it has `log_probabilities`."""
    amounts: Amounts
    live: LiveEdits | None = None
    """All edits that are in force together; None: those of each case alone."""
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(what, why) -> how often: what was not scored, or not as it should be."""
    _whole: convsent.Whole = field(default_factory=convsent.Whole)

    def ask_base(self, asked: Sequence[CaseQuestions]) -> None:
        """Have the unedited model answer everything now: in full batches, and while it is that."""
        prompts = [question.probe.prompt for one in asked for question in one.questions]
        self.base.generate(prompts, self.amounts.max_tokens)
        self._continued(asked, None)
        if self.base.scores:
            pairs = [(q.probe.prompt, q.probe.answers[0]) for one in asked for q in _forced(one)]
            pairs += [pair for one in asked for pair in convsent.reply_pairs(one.case.replies)]
            self.base.score([prompt for prompt, _ in pairs], [target for _, target in pairs])
            if self._distributes:
                self._whole = convsent.distributions(self.unedited, asked)

    def measure(
        self, session: Session, asked: Sequence[CaseQuestions], ages: Sequence[int | None]
    ) -> list[list[Scored]]:
        """Return for each case what was scored.

        Args:
            session: `asked[i]` is owned by `i` in it.
            asked: the cases.
            ages: for each case how many edits came after its own.

        """
        found: list[list[Scored]] = [[] for _ in asked]
        self._generated(session, asked, found)
        self._fluency(session, asked, found)
        if session.scores:
            self._fed(session, asked, found)
            self._opinions(session, asked, found)
        else:
            n = sum(len(_forced(one)) for one in asked)
            self.left_out[("teacher-forced scores", NO_SCORES)] += n
        return [
            [replace(one, age=age) for one in scored]
            for scored, age in zip(found, ages, strict=True)
        ]

    def _generated(
        self, session: Session, asked: Sequence[CaseQuestions], found: list[list[Scored]]
    ) -> None:
        flat = [(owner, q) for owner, one in enumerate(asked) for q in one.questions]
        prompts = [question.probe.prompt for _, question in flat]
        owners = [owner for owner, _ in flat]
        said = session.generate(prompts, owners, self.amounts.max_tokens)
        before = self.base.generate(prompts, self.amounts.max_tokens)
        fired = session.fired(prompts, owners)
        added: dict[int, list[int]] = {}
        for (owner, question), now, old, whose in zip(flat, said, before, fired, strict=True):
            score = score_generated(question.probe, now.text, old.text)
            also = dict(score.also)
            if self._clean(asked[owner], question):
                also[CLEANED] = score.score
            if question.metric == GENERAL:
                also["kept"] = float(same(now.text, old.text))
                also["before"] = score_generated(question.probe, old.text, old.text).score
            if whose is not None:
                also["fired"] = float(bool(whose))
                if question.metric in _ABOUT_THE_EDIT:
                    also["right_edit"] = float(owner in whose)
            if now.prompt_tokens >= 0 and old.prompt_tokens >= 0:
                added.setdefault(owner, []).append(now.prompt_tokens - old.prompt_tokens)
            if not now.text and not now.finished:
                self.left_out[("probes", TOO_LONG)] += 1
            found[owner].append(
                self._scored(
                    asked[owner],
                    question,
                    Scoring.GENERATED,
                    (now.text, old.text),
                    score.score,
                    score.verdict,
                    also,
                )
            )
        for owner, tokens in added.items():
            mean = sum(tokens) / len(tokens)
            found[owner].append(self._number(asked[owner], TOKENS_ADDED, None, mean))

    def _fed(
        self, session: Session, asked: Sequence[CaseQuestions], found: list[list[Scored]]
    ) -> None:
        flat = [(owner, q) for owner, one in enumerate(asked) for q in _forced(one)]
        prompts = [question.probe.prompt for _, question in flat]
        targets = [question.probe.answers[0] for _, question in flat]
        now = session.score(prompts, [owner for owner, _ in flat], targets)
        old = self.base.score(prompts, targets)
        for (owner, question), after, before in zip(flat, now, old, strict=True):
            if not (convsent.finite(after) and convsent.finite(before)):
                self.left_out[("teacher-forced targets", NOT_FINITE)] += 1
                continue
            score = score_forced(question.probe, after, before)
            also = dict(score.also)
            if self._clean(asked[owner], question):
                also[CLEANED] = score.score
            found[owner].append(
                self._scored(
                    asked[owner],
                    question,
                    Scoring.TEACHER_FORCED,
                    ("", ""),
                    score.score,
                    score.verdict,
                    also,
                )
            )

    def _clean(self, one: CaseQuestions, question: Question) -> bool:
        """Tell whether a prompt's score says something of the method, whatever else is edited."""
        own = one.case.requests
        if question.metric in _FOLLOWS and self.live is not None:
            return not self.live.contradict(question.probe, own)
        if question.metric == Metric.RETENTION and self.live is None:
            return False  # nothing but the erasures themselves is in force
        if question.metric not in (Metric.LOCALITY, Metric.RETENTION):
            return False
        live = LiveEdits(own) if self.live is None else self.live
        return not live.asked_by(question.probe, own)

    def _fluency(
        self, session: Session, asked: Sequence[CaseQuestions], found: list[list[Scored]]
    ) -> None:
        owners, before = self._continued(asked, None)
        _, now = self._continued(asked, session)
        for owner, text, old in zip(owners, now, before, strict=True):
            one = asked[owner]
            found[owner].append(
                Scored(
                    **self._place(one),
                    metric=FLUENCY,
                    kind="",
                    scoring=Scoring.GENERATED.value,
                    prompt=one.case.requests[0].prompt,
                    expected=(),
                    said=text.text,
                    base_said=old.text,
                    score=ngram_entropy(text.text),
                    also={"before": ngram_entropy(old.text)},
                )
            )

    def _continued(
        self, asked: Sequence[CaseQuestions], session: Session | None
    ) -> tuple[list[int], list[Answer]]:
        owners = [owner for owner, one in enumerate(asked) if one.fluent and one.case.requests]
        prompts = [asked[owner].case.requests[0].prompt for owner in owners]
        n = self.amounts.fluent_tokens
        if session is None:
            return owners, self.base.generate(prompts, n, min_new_tokens=n)
        return owners, session.generate(prompts, owners, n, min_new_tokens=n)

    def _opinions(
        self, session: Session, asked: Sequence[CaseQuestions], found: list[list[Scored]]
    ) -> None:
        forced = Scoring.TEACHER_FORCED
        for owner, parts in convsent.sentiments(self.base, session, asked):
            if parts is None:
                self.left_out[("sentiments", NOT_FINITE)] += 1
                continue
            also = {"z_sentiment": parts.z_sentiment, "z_topic": parts.z_topic}
            value = parts.edit_success
            found[owner].append(self._number(asked[owner], SENTIMENT, forced, value, also))
        if not self._distributes:
            if n := sum(one.other is not None for one in asked):
                self.left_out[("divergences", NO_DISTRIBUTIONS)] += n
            return
        if n := sum(one.case.replies is not None and one.other is None for one in asked):
            self.left_out[("divergences", NO_OTHER_TOPIC)] += n
        for owner, moved in convsent.divergences(self._whole, session, asked):
            if moved is None:
                self.left_out[("divergences", NOT_FINITE)] += 1
                continue
            found[owner].append(self._number(asked[owner], DIVERGENCE, forced, moved))

    @property
    def _distributes(self) -> bool:
        return hasattr(self.unedited, "log_probabilities")

    def _scored(
        self,
        one: CaseQuestions,
        question: Question,
        scoring: Scoring,
        said: tuple[str, str],
        score: float,
        verdict: str,
        also: dict[str, float],
    ) -> Scored:
        return Scored(
            **self._place(one),
            metric=question.metric,
            kind="" if question.metric == GENERAL else question.probe.kind,
            scoring=scoring.value,
            prompt=question.probe.prompt,
            expected=question.probe.answers,
            said=said[0],
            base_said=said[1],
            score=score,
            verdict=str(verdict),
            also=also,
        )

    def _number(
        self,
        one: CaseQuestions,
        metric: str,
        scoring: Scoring | None,
        value: float,
        also: dict[str, float] | None = None,
    ) -> Scored:
        return Scored(
            **self._place(one),
            metric=metric,
            kind="",
            scoring=scoring and scoring.value,
            prompt="",
            expected=(),
            said="",
            base_said="",
            score=value,
            also=also or {},
        )

    def _place(self, one: CaseQuestions) -> dict[str, Any]:
        return {
            "method": self.method,
            "setting": self.setting,
            "task": one.case.task,
            "case": one.case.id,
        }


def _forced(one: CaseQuestions) -> list[Question]:
    """Return the questions whose first answer is fed: probes that have one."""
    return [
        question
        for question in one.questions
        if question.metric != GENERAL and question.probe.answers
    ]
