"""An edit memory with its router, put behind what evaluation asks of an in-context method."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from memedit.types import Action, Edit, EditRequest, QueryText, Surface

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from memedit.config import Settings
    from memedit.evaluation.prompting import Injected
    from memedit.incontext.base import Demonstrations, InContextMethod
    from memedit.memory import EditMemory
    from memedit.routing import Route, Router
    from memedit.scope.base import Encoder

ALWAYS = "+always"
"""Ends the name of a method that gets its edit in front of every prompt, in scope or not."""
ROUTER = "+router"
"""Ends the name of an adapter that is at work for the prompts only that the router sends to it."""
SERAC = "serac"
"""A method of two models, which is no in-context one."""
_ANSWER = 128
"""Tokens of the model's context that are kept for an answer."""


def routed_edits(
    name: str,
    encoder: Encoder,
    settings: Settings,
    stack: ExitStack,
    context: int | None = None,
) -> RoutedEdits:
    """Open an empty memory with a router for one in-context method.

    Args:
        name: the registry's, or with ``+always`` behind it.
        encoder: of the memory.
        settings: of encoder, scope and method.
        stack: closes the memory.
        context: tokens that the model takes: demonstrations beyond it are left out.

    """
    from memedit.incontext.catalog import METHODS
    from memedit.memory import EditMemory
    from memedit.routing import Router
    from memedit.scope.catalog import open_classifier

    bare = name.removesuffix(ALWAYS)
    serac = bare == SERAC
    method = METHODS.get("ice" if serac else bare).open(encoder, settings.incontext)
    memory = stack.enter_context(EditMemory.open("sqlite://", encoder, index=settings.memory.index))
    scope, weights = settings.scope, settings.scope_weights
    if serac:  # its classifier is part of the method
        scope = scope.model_copy(update={"classifier": SERAC})
        weights = settings.serac.folder
    router = Router(
        memory,
        open_classifier(scope.classifier, encoder, threshold=scope.threshold, weights=weights),
        dict.fromkeys(Surface, (bare, method)),
        candidates=scope.candidates,
        max_edits=scope.max_edits,
        counterfactual=serac,
    )
    return RoutedEdits(memory, router, method, always=name != bare, context=context)


class RoutedEdits:
    """An edit memory and a router, as ``memedit.evaluation.prompting.Injector``."""

    def __init__(
        self,
        memory: EditMemory,
        router: Router,
        method: InContextMethod,
        *,
        always: bool,
        context: int | None = None,
    ) -> None:
        self._memory = memory
        self._router = router
        self._method = method
        self._always = always
        self._context = context
        self._live: dict[str, list[Edit]] = {}

    def add(self, requests: Sequence[EditRequest], namespace: str) -> list[str]:
        """Store edits."""
        edits = self._memory.add(requests, namespace=namespace)
        self._live.setdefault(namespace, []).extend(edits)
        return [edit.id for edit in edits]

    def remove(self, ids: Sequence[str]) -> None:
        """Retract edits."""
        gone = set(ids)
        for edit_id in ids:
            self._memory.retract(edit_id)
        kept = {
            space: [edit for edit in edits if edit.id not in gone]
            for space, edits in self._live.items()
        }
        self._live = {space: edits for space, edits in kept.items() if edits}

    def inject(
        self, prompts: Sequence[str], chat: Sequence[bool], namespaces: Sequence[str]
    ) -> list[Injected]:
        """Decide about all prompts in one batch, and write where the wire formats would."""
        from memedit.routing import RouteQuery

        surfaces = [Surface.CHAT if one else Surface.COMPLETION for one in chat]
        places = [_place(prompt, one) for prompt, one in zip(prompts, chat, strict=True)]
        if self._always:
            theirs = [self._live.get(space, []) for space in namespaces]
            vectors = self._memory.encoder.encode([query.text for query, _ in places])
            examples = self._method.demonstrations(vectors, theirs)
            return [
                self._written(prompt, place, surface, edits, shown)
                for prompt, place, surface, edits, shown in zip(
                    prompts, places, surfaces, theirs, examples, strict=True
                )
            ]
        queries = [
            RouteQuery(query, surface, (space,))
            for (query, _), surface, space in zip(places, surfaces, namespaces, strict=True)
        ]
        routes = self._router.decide(queries)
        return [
            self._elsewhere(prompt, place, surface, route)
            if route.action is Action.COUNTERFACTUAL
            else self._written(
                prompt,
                place,
                surface,
                [decision.candidate.edit for decision in route.applied],
                route.demonstrations,
            )
            for prompt, place, surface, route in zip(prompts, places, surfaces, routes, strict=True)
        ]

    def _elsewhere(
        self, prompt: str, place: tuple[QueryText, int], surface: Surface, route: Route
    ) -> Injected:
        from memedit.evaluation.prompting import Injected

        query, start = place
        before = self._router.compose(query.text, route, surface).before
        [decision] = route.applied
        text = f"{prompt[:start]}{before}{prompt[start:]}"
        return Injected(text, (decision.candidate.edit.id,), elsewhere=True)

    def _written(
        self,
        prompt: str,
        place: tuple[QueryText, int],
        surface: Surface,
        edits: Sequence[Edit],
        shown: Demonstrations,
    ) -> Injected:
        from memedit.evaluation.prompting import Injected
        from memedit.incontext.base import estimated_tokens

        if not edits:
            return Injected(prompt)
        query, start = place
        around = self._method.compose(query.text, edits, surface)
        if self._context is not None and shown.texts:
            length = estimated_tokens(f"{around.before}{prompt}{around.after}")
            shown = shown.within(self._context - _ANSWER - length)
        around = around.behind(shown)
        text = f"{prompt[:start]}{around.before}{prompt[start:]}{around.after}"
        return Injected(text, tuple(edit.id for edit in edits))


class Remembering:
    """An encoder that encodes each text once: several methods ask the same prompts."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._known: dict[str, npt.NDArray[np.float32]] = {}

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._encoder.dim

    @property
    def fingerprint(self) -> str:
        """That of the encoder."""
        return self._encoder.fingerprint

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return float32 ``[n_texts, dim]``."""
        import numpy as np

        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known |= dict(zip(new, self._encoder.encode(new), strict=True))
        if not texts:
            return np.empty((0, self.dim), dtype=np.float32)
        return np.stack([self._known[text] for text in texts])


def _place(prompt: str, chat: bool) -> tuple[QueryText, int]:
    """Return what a prompt asks and where that begins, as the proxy's wire formats read it."""
    from memedit.routing import wire_for
    from memedit.routing.wire.base import TextPrompt

    if chat:
        path, body = "/v1/chat/completions", {"messages": [{"role": "user", "content": prompt}]}
    else:
        path, body = "/v1/completions", {"prompt": prompt}  # type: ignore[dict-item]
    wire = wire_for("POST", path)
    found = wire.read(body) if wire is not None else ()
    [read] = [one for one in found if isinstance(one, TextPrompt)]
    return read.query, read.place.start
