"""The decision: which edits concern which prompts, for a batch of prompts at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

import numpy as np
import numpy.typing as npt

from memedit.errors import MemeditError, MemoryFailure
from memedit.incontext.base import InContextMethod, Insertion
from memedit.routing.adapting import AdapterChooser
from memedit.routing.contradicting import Pair, answering_the_same, said_of
from memedit.routing.counterfactual import insertion_of, to_counterfactual
from memedit.routing.remembered import remembered
from memedit.routing.route import Reason, Route, RouteQuery, joined
from memedit.routing.selection import doubtful, merged, selected
from memedit.scope.base import Encoder, ScopeClassifier, ScopeInput
from memedit.scope.query import search_texts
from memedit.types import Action, Candidate, ScopeDecision, Surface

FEWER_DEMONSTRATIONS = "fewer-demonstrations"
"""A note: there was no room for all the worked examples that the method would show."""
Vector = npt.NDArray[np.float32]


NO_SUBJECT_NAMED = "no-subject-named"
"""A note: the gate decided, since the prompt holds no part of any edit's names."""

Gate = Callable[[Sequence[str], Sequence[str]], bool]
"""Texts of one query and its namespaces in; whether any of them may concern an edit out."""


class SearchableMemory(Protocol):
    """What a router needs of an edit memory; ``EditMemory`` is one."""

    @property
    def encoder(self) -> Encoder:
        """The encoder that wrote the memory's vectors."""

    def refresh(self) -> bool:
        """Pick up what other processes committed; cheap."""

    def has_live(self, namespaces: Sequence[str]) -> bool:
        """Tell whether any of the namespaces holds a live edit; no encoding, no database."""

    def candidates(
        self,
        vectors: npt.NDArray[np.float32],
        namespaces: Sequence[Sequence[str]],
        k: int,
        moment: datetime,
        *,
        texts: Sequence[str] | None = None,
    ) -> list[tuple[Candidate, ...]]:
        """Find valid edits of each vector ``[n, dim]``: the nearest, and those its text names."""

    def erased(
        self, texts: Sequence[str], namespaces: Sequence[str], moment: datetime
    ) -> list[tuple[Candidate, ...]]:
        """Find valid erasures whose subject stands in each text; no encoding, no database."""


def _now() -> datetime:
    return datetime.now(UTC)


class Router:
    """Decides about prompts.  Safe to call from several threads, as far as its memory is."""

    def __init__(
        self,
        memory: SearchableMemory,
        classifier: ScopeClassifier,
        methods: Mapping[Surface, tuple[str, InContextMethod]],
        *,
        candidates: int = 5,
        max_edits: int = 4,
        gate: Gate | None = None,
        adapters: AdapterChooser | None = None,
        counterfactual: bool = False,
        now: Callable[[], datetime] = _now,
    ) -> None:
        """Wire a router.

        Args:
            memory: where edits are looked for.
            classifier: judges candidates.
            methods: registry name and in-context method of each surface.
            candidates: edits judged per prompt.
            max_edits: edits applied to one prompt at most.
            gate: tells before anything is encoded whether a query's texts may concern an edit of
                its namespaces; those that cannot pass.
            adapters: chooses the adapter that a prompt goes to; none: everything in context.
            counterfactual: whether a prompt that an edit answers by itself, and that goes to no
                adapter, goes to the counterfactual model.
            now: the moment for which edits must be valid, aware.

        """
        self._memory = memory
        self._classifier = classifier
        self._methods = dict(methods)
        self._candidates = candidates
        self._max_edits = max_edits
        self._gate = gate
        self._adapters = adapters
        self._counterfactual = counterfactual
        self._now = now

    def decide(self, queries: Sequence[RouteQuery]) -> list[Route]:
        """Route a batch: one encoding, one search and one classification for all of it.

        Demonstrations are looked up only for prompts that edits concern, by the same encoding.

        Raises:
            MemoryFailure: memory, encoder or classifier failed; nothing was decided.

        """
        try:
            return self._decide(queries)
        except MemoryFailure:
            raise
        except Exception as error:
            raise _failure("the edit memory could not be searched", error) from error

    def compose(self, query: str, route: Route, surface: Surface) -> Insertion:
        """Return the text that applies ``route`` to a prompt that asks ``query``.

        Raises:
            MemoryFailure: the in-context method failed; the policy for a failing memory applies.

        """
        if not route.in_context:
            return Insertion()
        if route.action is Action.COUNTERFACTUAL:
            return insertion_of(route)
        name, method = self._methods[surface]
        edits = [decision.candidate.edit for decision in route.in_context]
        try:
            return method.compose(query, edits, surface).behind(route.demonstrations)
        except Exception as error:
            raise _failure(f"the in-context method {name!r} failed", error) from error

    def _decide(self, queries: Sequence[RouteQuery]) -> list[Route]:
        self._memory.refresh()
        routes: list[Route | None] = [None] * len(queries)
        texts: dict[str, int] = {}  # each text is encoded once per batch
        searches: list[tuple[int, tuple[str, ...]]] = []
        for number, query in enumerate(queries):
            if not self._memory.has_live(query.namespaces):
                routes[number] = Route(Action.PASS, Reason.NO_EDITS, query.namespaces)
                continue
            wanted = tuple(text for text in search_texts(query.query) if text.strip())
            if not wanted:
                routes[number] = Route(Action.PASS, Reason.GATED, query.namespaces)
                continue
            if self._gate is not None and not self._gate(wanted, query.namespaces):
                gated = Route(Action.PASS, Reason.GATED, query.namespaces, note=NO_SUBJECT_NAMED)
                routes[number] = gated
                continue
            searches.append((number, wanted))
            for text in wanted:
                texts.setdefault(text, len(texts))
        vectors: dict[int, Vector] = {}
        searched = self._search(queries, searches, texts)
        same = self._same([(queries[number], found) for number, found, _ in searched])
        for number, found, vector in searched:
            routes[number] = self._route(queries[number], found, same)
            vectors[number] = vector
        self._remember(queries, routes)
        if self._adapters is not None:
            for number, query in enumerate(queries):
                decided = routes[number]
                if decided is not None:
                    routes[number] = self._adapters.choose(query, decided)
        self._demonstrate(queries, routes, vectors)
        made = [route for route in routes if route is not None]
        return [to_counterfactual(route) for route in made] if self._counterfactual else made

    def _remember(self, queries: Sequence[RouteQuery], routes: list[Route | None]) -> None:
        """Have the answers watched for erased facts that the turns before the last one ask.

        Not on a surface whose method is ``none``, which changes nothing.
        """
        places = [
            number
            for number, route in enumerate(routes)
            if route is not None and route.reason is not Reason.NO_EDITS
            if queries[number].query.context
            if self._methods[queries[number].surface][0] != "none"
        ]
        if not places:
            return
        asked = [(queries[number], self._threshold(queries[number])) for number in places]
        found = remembered(self._memory, self._classifier, asked, self._now())
        for number, one in zip(places, found, strict=True):
            decided = routes[number]
            if one and decided is not None:
                routes[number] = replace(decided, remembered=one)

    def _demonstrate(
        self,
        queries: Sequence[RouteQuery],
        routes: list[Route | None],
        vectors: Mapping[int, Vector],
    ) -> None:
        """Choose what is shown before the edits of those prompts that are touched."""
        touched: dict[Surface, list[tuple[int, Route]]] = {}
        for number, route in enumerate(routes):
            if route is not None and route.in_context:
                touched.setdefault(queries[number].surface, []).append((number, route))
        for surface, group in touched.items():
            _, method = self._methods[surface]
            edits = [
                [decision.candidate.edit for decision in route.in_context] for _, route in group
            ]
            shown = method.demonstrations(np.stack([vectors[number] for number, _ in group]), edits)
            for (number, route), one in zip(group, shown, strict=True):
                note = joined(route.note, FEWER_DEMONSTRATIONS if one.left_out else None)
                routes[number] = replace(route, demonstrations=one, note=note)

    def _search(
        self,
        queries: Sequence[RouteQuery],
        searches: Sequence[tuple[int, tuple[str, ...]]],
        texts: Mapping[str, int],
    ) -> list[tuple[int, list[ScopeDecision], Vector]]:
        """Find and judge the candidates of those queries that the gate let through.

        Returns:
            For each its number, its decisions, and the vector of the text that comes last among
            those searched for: of a long query the sentence that asks, of one that leans on
            earlier turns the one completed by them.

        """
        if not searches:
            return []
        ordered = list(texts)
        vectors = self._memory.encoder.encode(ordered)
        rows = [(number, texts[text]) for number, wanted in searches for text in wanted]
        hits = self._memory.candidates(
            vectors[[row for _, row in rows]],
            [queries[number].namespaces for number, _ in rows],
            self._candidates,
            self._now(),
            texts=[ordered[row] for _, row in rows],
        )
        per_query: dict[int, list[Candidate]] = {number: [] for number, _ in searches}
        for (number, _), hit in zip(rows, hits, strict=True):
            per_query[number].extend(hit)
        inputs = {
            number: ScopeInput(queries[number].query, merged(found, self._candidates))
            for number, found in per_query.items()
        }
        judged = {number: one for number, one in inputs.items() if one.candidates}
        decisions = self._classifier.classify(list(judged.values())) if judged else []
        answers = dict(zip(judged, decisions, strict=True))
        last = {number: row for number, row in rows}
        return [(number, answers.get(number, []), vectors[last[number]]) for number in inputs]

    def _same(self, found: Sequence[tuple[RouteQuery, Sequence[ScopeDecision]]]) -> set[Pair]:
        """Judge which of the edits that concern the prompts answer the same in other words."""
        pairs = (
            pair
            for query, decisions in found
            for pair in doubtful(
                query.query.text,
                decisions,
                self._threshold(query),
                query.namespaces,
                query.query.context,
            )
        )
        return answering_the_same(pairs, self._memory.encoder, self._classifier)

    def _threshold(self, query: RouteQuery) -> float:
        return self._classifier.threshold if query.threshold is None else query.threshold

    def _route(
        self, query: RouteQuery, decisions: Sequence[ScopeDecision], same: Collection[Pair]
    ) -> Route:
        if not decisions:
            return Route(Action.PASS, Reason.GATED, query.namespaces)
        chosen = selected(
            query.query.text,
            decisions,
            self._threshold(query),
            self._max_edits,
            query.namespaces,
            same,
            query.query.context,
        )
        if not chosen.applied:
            return Route(
                Action.PASS, Reason.OUT_OF_SCOPE, query.namespaces, considered=chosen.considered
            )
        name, _ = self._methods[query.surface]
        return Route(
            Action.IN_CONTEXT,
            Reason.IN_SCOPE,
            query.namespaces,
            name,
            chosen.applied,
            chosen.considered,
            note=said_of(chosen.left_out),
            left_out=chosen.left_out,
        )


def _failure(what: str, error: Exception) -> MemoryFailure:
    # the text of a foreign exception may quote a prompt or a connection string: only its kind
    said = str(error) if isinstance(error, MemeditError) else type(error).__name__
    return MemoryFailure(f"{what}: {said}")
