"""Which adapter a prompt goes to: what the memory knows of adapters, laid beside a decision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from memedit.memory import AdapterRecord, AdapterView, TargetKind
from memedit.memory.ids import split_ref
from memedit.routing.route import Route, RouteQuery, joined
from memedit.types import Action, Edit, ScopeDecision, Surface

CODEBOOK: Final = "grace"
"""The method whose adapters are codebooks."""
DEPLOYED: Final = "deployed"
"""A note: all traffic of this namespace, or to this model, goes through the adapter."""
REST_IN_CONTEXT: Final = "rest-in-context"
"""A note: one adapter serves a request; edits that it does not hold are written into the prompt."""
OUTDATED: Final = "adapter-outdated"
"""A note: an adapter holds an older version of an edit, and is not used for it."""
OUTSIDE_CODEBOOK: Final = "outside-codebook"
"""A note: a codebook holds an edit, but may not know this prompt; the edit is in the context."""
OTHER_BASE: Final = "adapter-of-other-base"
"""A note: an adapter that holds an edit was learned for another model than is served."""


class AdapterChooser:
    """Chooses adapters for routes.  Pure but for the view it is given; safe for several threads.

    Args:
        view: returns what is known of adapters now; it must cost next to nothing.
        base: fingerprint of the served model; adapters of another one are not used.
        codebooks_for_any: send a codebook every prompt that its edits concern.  Left out, it gets
            those of which its own radius is sure not to leave one out, so that what is said to be
            applied is: an edit's own prompt, to the letter, without earlier turns.

    """

    def __init__(
        self, view: Callable[[], AdapterView], base: str, *, codebooks_for_any: bool = False
    ) -> None:
        self._view = view
        self._base = base
        self._codebooks_for_any = codebooks_for_any

    def choose(self, query: RouteQuery, route: Route) -> Route:
        """Return the route with the adapter that it takes; the very same where it takes none.

        A deployed adapter is taken whatever the prompt.  Else it is the one that holds most of the
        edits that concern the prompt, of equals the one of the more probable edit, of those the
        newest.  What it does not hold stays in the context.
        """
        view = self._view()
        if view.deployments:
            deployed = _deployed(view, query)
            if deployed is not None and deployed.base == self._base:
                held = self._held(deployed, query, route.applied)
                return _taking(route, deployed, held, DEPLOYED)
            if deployed is not None:
                route = replace(route, note=joined(route.note, OTHER_BASE))
        if not route.applied or not view.by_edit:
            return route
        best: AdapterRecord | None = None
        most: frozenset[str] = frozenset()
        for decision in route.applied:  # the most probable first, so that it wins between equals
            for record in view.by_edit.get(decision.candidate.edit.id, ()):
                held = self._held(record, query, route.applied)
                if len(held) > len(most):
                    best, most = record, held
        if best is not None:
            return _taking(route, best, most, None)
        unusable = self._unusable(view, query, route.applied)
        return route if unusable is None else replace(route, note=joined(route.note, unusable))

    def _held(
        self, record: AdapterRecord, query: RouteQuery, applied: Sequence[ScopeDecision]
    ) -> frozenset[str]:
        """Return which of the edits an adapter holds as they are now; none of another base.

        Nor one that is asked from its other end: an adapter learned it in one direction.
        """
        if record.base != self._base:
            return frozenset()
        return frozenset(record.edits).intersection(
            one.candidate.edit.ref
            for one in applied
            if not one.candidate.turned and self._reaches(record, query, one.candidate.edit)
        )

    def _reaches(self, record: AdapterRecord, query: RouteQuery, edit: Edit) -> bool:
        """Tell whether an adapter is sure to be at work for a prompt that an edit concerns.

        A codebook has keys of prompts in the form that they were learned in: a question as a chat
        turn, anything else continued.
        """
        if record.method != CODEBOOK or self._codebooks_for_any:
            return True
        own = edit.request.prompt.strip()
        learned_as = Surface.CHAT if own.endswith("?") else Surface.COMPLETION
        asked = query.query.text.strip()
        return asked == own and not query.query.context and query.surface is learned_as

    def _unusable(
        self, view: AdapterView, query: RouteQuery, applied: Sequence[ScopeDecision]
    ) -> str | None:
        """Say why no adapter that holds one of the edits can be used, if there is any."""
        for decision in applied:
            edit = decision.candidate.edit
            for record in view.by_edit.get(edit.id, ()):
                if record.base != self._base:
                    return OTHER_BASE
                return OUTDATED if edit.ref not in record.edits else OUTSIDE_CODEBOOK
        return None


def _deployed(view: AdapterView, query: RouteQuery) -> AdapterRecord | None:
    """Return what all traffic like the query goes through: a namespace's before a model's."""
    targets = [(TargetKind.NAMESPACE, name) for name in query.namespaces]
    if query.model is not None:
        targets.append((TargetKind.MODEL, query.model))
    for target in targets:
        found = view.deployments.get(target)
        if found is not None:
            return view.records.get(found.adapter)
    return None


def _taking(route: Route, record: AdapterRecord, held: frozenset[str], note: str | None) -> Route:
    left = [one for one in route.edit_ids if one not in held]
    said = joined(route.note, note, REST_IN_CONTEXT if left else None)
    return replace(
        route,
        action=Action.ADAPTER,
        adapter=record.name,
        carried=tuple(ref for ref in route.edit_ids if ref in held),
        note=said,
    )


def without_adapter(route: Route, note: str) -> Route:
    """Return the route as it is without its adapter: all edits in context, ``note`` saying why."""
    if route.adapter is None:
        return route
    gone = (DEPLOYED, REST_IN_CONTEXT)
    kept = [one for one in (route.note or "").split(",") if one not in gone]
    return replace(
        route,
        action=Action.IN_CONTEXT if route.applied else Action.PASS,
        adapter=None,
        carried=(),
        note=joined(*kept, note),
    )


def outdated_in(record: AdapterRecord, current: Callable[[str], str | None]) -> list[str]:
    """Return which edits of an adapter are no longer as it holds them.

    Args:
        record: the adapter.
        current: returns ``id@version`` of an edit's live version; ``None`` where it has none.

    """
    return [ref for ref in record.edits if current(split_ref(ref)[0]) != ref]
