"""Which relation a prompt asks after, where the data set does not say: told by its wording.

A wording is a prompt with its subject taken out. Where some case has one wording as the rephrase of
another, the two are of one relation, and so is all that is joined in this way; a relation that the
data set names gives its name to what is joined with it.

Equal relations are therefore as sure as the data's rephrases. Different ones are less so: two
wordings that no case joins may ask the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from memedit.evaluation.cases import EditCase, Metric

PLACE = "{}"
"""Stands where the subject stood."""


def wording(prompt: str, subject: str) -> str:
    """Return a prompt without its subject, in lower case; empty where it does not name it.

    >>> wording("Who is the mayor of Lyon?", "Lyon")
    'who is the mayor of {}'
    """
    cut, times = re.subn(rf"(?<!\w){re.escape(subject)}(?!\w)", PLACE, prompt)
    return " ".join(cut.casefold().split()).rstrip(" .?!:") if times else ""


class Relations:
    """The relations of a data set's facts.

    Args:
        cases: all of its cases: the more there are, the more of the wordings are joined.

    """

    def __init__(self, cases: Iterable[EditCase]) -> None:
        self._above: dict[str, str] = {}
        names: dict[str, set[str]] = {}
        for case in cases:
            for request in case.requests:
                if own := wording(request.prompt, request.subject):
                    self._above.setdefault(own, own)
            if len(case.requests) != 1:  # a rephrase of one edit among several is of unknown which
                continue
            [request] = case.requests
            own = wording(request.prompt, request.subject)
            if not own:
                continue
            if case.relation:
                names.setdefault(own, set()).add(case.relation)
            for probe in case.probes:
                if probe.metric is Metric.GENERALITY:
                    self._join(own, wording(probe.prompt, request.subject))
        self._names: dict[str, set[str]] = {}
        for own, given in names.items():
            self._names.setdefault(self._root(own), set()).update(given)

    def of(self, prompt: str, subject: str) -> str:
        """Return the relation that a prompt asks after; empty where that cannot be told.

        It cannot where no edit of the data has that wording, and where the wordings that are joined
        with it belong to several relations by name ("Where is {}?").
        """
        own = wording(prompt, subject)
        if own not in self._above:
            return ""
        root = self._root(own)
        names = self._names.get(root, {root})
        return next(iter(names)) if len(names) == 1 else ""

    def of_edit(self, case: EditCase, number: int = 0) -> str:
        """Return the relation of one of a case's edits: as the data set names it, else as told."""
        if case.relation and len(case.requests) == 1:
            return case.relation
        request = case.requests[number]
        return self.of(request.prompt, request.subject)

    def _root(self, own: str) -> str:
        while self._above[own] != own:
            self._above[own] = own = self._above[self._above[own]]
        return own

    def _join(self, one: str, other: str) -> None:
        if other:
            self._above.setdefault(other, other)
            self._above[self._root(other)] = self._root(one)
