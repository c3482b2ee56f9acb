"""The composition root: settings in, concrete parts out.

The command line and the client's transport both need a memory and a router; they get them here,
and here only is it decided which class stands behind which setting.  Every room is imported when
it is asked for, and none of them loads a language model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memedit.types import Surface

if TYPE_CHECKING:
    from memedit.config import Settings
    from memedit.memory import EditMemory
    from memedit.routing import Router


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
    )


def open_router(memory: EditMemory, settings: Settings | None = None) -> Router:
    """Put the router together: the scope classifier and the in-context method of each surface."""
    from memedit.incontext.catalog import METHODS
    from memedit.routing import Router
    from memedit.scope.catalog import open_classifier

    chosen = settings if settings is not None else read_settings()
    check_names(chosen)
    names = {
        Surface.CHAT: chosen.incontext.chat,
        Surface.COMPLETION: chosen.incontext.completion,
    }
    return Router(
        memory,
        open_classifier(chosen.scope.classifier, memory.encoder, threshold=chosen.scope.threshold),
        {surface: (name, METHODS.get(name)()) for surface, name in names.items()},
        candidates=chosen.scope.candidates,
        max_edits=chosen.scope.max_edits,
    )


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
