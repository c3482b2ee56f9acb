"""The composition root: settings in, concrete parts out.

The command line and the client's transport both need a memory and a router; they get them here,
and here only is it decided which class stands behind which setting.  Every room is imported when
it is asked for, and none of them loads a language model.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from memedit.types import Surface

if TYPE_CHECKING:
    from collections.abc import Sequence

    from memedit.agent import AgentMethod
    from memedit.config import AgentSettings, SeracSettings, Settings
    from memedit.enrichment import Ask, Enricher
    from memedit.memory import EditMemory
    from memedit.memory.asking import Judge
    from memedit.routing import Router
    from memedit.routing.answering import Answerer
    from memedit.routing.router import Gate
    from memedit.scope.base import Encoder, ScopeClassifier
    from memedit.types import Candidate


def open_memory(
    url: str | None = None,
    settings: Settings | None = None,
    *,
    reindex: bool = False,
    create: bool = True,
) -> EditMemory:
    """Open the edit memory with its encoder; a context manager.

    Args:
        url: SQLAlchemy URL, for example ``sqlite:///edits.db``; ``None`` is that of the settings.
        settings: ``None`` reads environment and file as the command line does.
        reindex: encode everything anew where the memory was written with another encoder.
        create: make the memory where there is none; else that is an error.

    Raises:
        SettingsError: the settings name a part that is not there.
        MemoryFailure: it cannot be opened, or was written with another encoder.

    """
    from memedit.memory import EditMemory
    from memedit.memory.conflicts import ConflictPolicy
    from memedit.scope.encoder import open_encoder

    chosen = settings if settings is not None else read_settings()
    check_names(chosen)
    encoder = open_encoder(chosen.encoder)
    return EditMemory.open(
        url or chosen.memory.url,
        encoder,
        index=chosen.memory.index,
        reindex=reindex,
        create=create,
        conflicts=ConflictPolicy(chosen.memory.on_conflict, _judge(chosen, encoder)),
    )


def _judge(settings: Settings, encoder: Encoder) -> Judge:
    """Make the judge of contradictions out of the scope classifier, which is opened when asked."""
    from memedit.scope.catalog import open_classifier
    from memedit.types import QueryText, ScopeLabel

    @functools.cache
    def classifier() -> ScopeClassifier:
        scope = settings.scope
        return open_classifier(
            scope.classifier, encoder, threshold=scope.threshold, weights=settings.scope_weights
        )

    def judge(pairs: Sequence[tuple[str, Candidate]]) -> list[float | None]:
        from memedit.scope.base import ScopeInput

        asked = [ScopeInput(QueryText(prompt), (candidate,)) for prompt, candidate in pairs]
        threshold = classifier().threshold
        return [
            decision.direct
            if decision.label is ScopeLabel.DIRECT and decision.direct >= threshold
            else None
            for [decision] in classifier().classify(asked)
        ]

    return judge


def open_router(
    memory: EditMemory,
    settings: Settings | None = None,
    *,
    adapters: bool = False,
    counterfactual: bool = False,
) -> Router:
    """Put the router together: the scope classifier and the in-context method of each surface.

    Args:
        memory: where edits are looked for.
        settings: ``None`` reads environment and file as the command line does.
        adapters: whether prompts may go to adapters, where the settings name a library of them:
            for those who can load them, or only tell what would be done.
        counterfactual: whether prompts may go to the counterfactual model, where the settings say
            so: for those who can ask it, or only tell what would be done.

    """
    from memedit.incontext.catalog import METHODS
    from memedit.routing import Router
    from memedit.routing.adapting import AdapterChooser
    from memedit.scope.catalog import open_classifier

    chosen = settings if settings is not None else read_settings()
    check_names(chosen)
    names = {
        Surface.CHAT: chosen.incontext.chat,
        Surface.COMPLETION: chosen.incontext.completion,
    }
    methods = {
        name: METHODS.get(name).open(memory.encoder, chosen.incontext)
        for name in dict.fromkeys(names.values())
    }
    base = chosen.adapters.base if chosen.adapters.library is not None else None
    return Router(
        memory,
        open_classifier(
            chosen.scope.classifier,
            memory.encoder,
            threshold=chosen.scope.threshold,
            weights=chosen.scope_weights,
        ),
        {surface: (name, methods[name]) for surface, name in names.items()},
        candidates=chosen.scope.candidates,
        max_edits=chosen.scope.max_edits,
        gate=_gate(memory) if chosen.scope.gate == "names" else None,
        adapters=AdapterChooser(
            memory.adapters.view,
            base,
            codebooks_for_any=chosen.adapters.codebooks == "any",
        )
        if adapters and base
        else None,
        counterfactual=counterfactual and chosen.routing.direct == "serac",
    )


def counterfactual_settings(settings: Settings) -> SeracSettings | None:
    """Return how the counterfactual model is asked; ``None``: it is not.

    Raises:
        SettingsError: it is to be asked, and no server of it is named.

    """
    from memedit.errors import SettingsError

    if settings.routing.direct != "serac":
        return None
    if settings.serac.url is None:
        raise SettingsError(
            "routing.direct is serac and serac.url is not set: name the server of the "
            "counterfactual model, or have 'memedit serve --serac DIR' run it"
        )
    return settings.serac


def open_enricher(memory: EditMemory, settings: Settings, ask: Ask) -> Enricher:
    """Return what makes further questions for edits, as ``memory.enrich`` says.

    Args:
        memory: where the edits are.
        settings: those of the memory.
        ask: sends what the served model is asked, where it makes them.

    Raises:
        SettingsError: no questions are to be made.

    """
    from memedit.enrichment import Enricher, ModelQuestions, Templates
    from memedit.errors import SettingsError

    chosen, scope = settings.memory, settings.scope
    if chosen.enrich == "none":
        raise SettingsError(
            "memory.enrich is none; set it, or the option --method, to templates or model"
        )
    if chosen.enrich == "templates":
        return Enricher(memory, Templates(chosen.enrich_questions))
    from memedit.scope.catalog import open_classifier

    classifier = open_classifier(
        scope.classifier, memory.encoder, threshold=scope.threshold, weights=settings.scope_weights
    )
    most, model = chosen.enrich_questions, chosen.enrich_model
    return Enricher(memory, ModelQuestions(ask, memory.encoder, classifier, most=most, model=model))


def open_answerer(settings: Settings | None = None) -> Answerer | None:
    """Return what answers prompts that depend on edits through another hop; ``None``: nothing.

    Args:
        settings: ``None`` reads environment and file as the command line does.

    Raises:
        SettingsError: ``agent.method`` names no method.
        InvalidInputError: no such number of hops, or no demonstrations that the method reads.

    """
    from memedit.errors import SettingsError, UnknownNameError

    chosen = settings if settings is not None else read_settings()
    if chosen.routing.dependent != "agent":
        return None
    from memedit.agent.answering import AgentAnswerer

    try:
        method = open_agent_method(chosen.agent)
    except UnknownNameError as error:
        raise SettingsError(f"agent.method: {error}") from None
    return AgentAnswerer(
        method,
        surface=Surface.CHAT if chosen.agent.chat else Surface.COMPLETION,
        max_tokens=chosen.agent.max_tokens,
        timeout=chosen.agent.timeout,
    )


def open_agent_method(settings: AgentSettings) -> AgentMethod:
    """Return the multi-hop method with its demonstrations.

    Raises:
        UnknownNameError: there is no such method.
        InvalidInputError: no such number of hops, or no demonstrations that the method reads.

    """
    from pathlib import Path

    from memedit.agent.catalog import AGENTS
    from memedit.agent.demonstrations import read_demonstrations

    cls = AGENTS.get(settings.method)
    text = settings.demonstrations
    if text is not None:
        text = "" if text == "none" else read_demonstrations(Path(text), cls.shown)
    return cls(max_hops=settings.max_hops, demonstrations=text)


def _gate(memory: EditMemory) -> Gate:
    """Return the memory's gate, made ready for the edits that are there."""
    memory.may_concern((), tuple(memory.namespaces()))
    return memory.may_concern


def check_names(settings: Settings) -> None:
    """Refuse settings that name a part which is not there.

    Raises:
        SettingsError: says which setting, and what is there.

    """
    from memedit.errors import SettingsError, UnknownNameError
    from memedit.incontext.catalog import METHODS
    from memedit.indexes.catalog import index_class
    from memedit.scope.catalog import CLASSIFIERS

    for setting, find, name in (
        ("memory.index", index_class, settings.memory.index),
        ("scope.classifier", CLASSIFIERS.get, settings.scope.classifier),
        ("incontext.chat", METHODS.get, settings.incontext.chat),
        ("incontext.completion", METHODS.get, settings.incontext.completion),
    ):
        try:
            find(name)
        except UnknownNameError as error:
            raise SettingsError(f"{setting}: {error}") from None


def read_settings() -> Settings:
    """Read the settings as the command line does without flags."""
    from memedit.config import Settings

    return Settings.read()
