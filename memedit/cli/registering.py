"""Taking an adapter into a library and telling a memory which edits it holds: both, or neither."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from memedit.errors import InvalidInputError, MemeditError, SettingsError

if TYPE_CHECKING:
    from memedit.adapters.base import Adapter
    from memedit.cli.taught import Source
    from memedit.library import StoredAdapter
    from memedit.memory import EditMemory


class Registering:
    """Where adapters are registered: a library, and the memory that their edits come from."""

    def __init__(self, library: Path, name: str | None, source: Source) -> None:
        """Check what can be checked before long work.

        Raises:
            SettingsError: the edits are none of a memory that can be written here.
            InvalidInputError: the name cannot be one.

        """
        from memedit.library.library import checked_id

        if source.file is not None or source.url is not None:
            raise SettingsError(
                "--library registers which stored edits an adapter holds, so the edits must come "
                "from a memory; leave out --edits and --url, and name the --memory"
            )
        self.library = library
        self.name = name if name is None else checked_id(name)
        self._source = source

    def check_model(self, checkpoint: Path) -> None:
        """Refuse a model that is not served: no request would go to what is learned for it.

        Raises:
            SettingsError: ``adapters.base`` of the settings names another one.
            MemeditError: there is no checkpoint in the folder.

        """
        from memedit.config import Settings
        from memedit.modeling.checkpoint import Checkpoint

        served = Settings.read(self._source.config).adapters.base
        if served is not None:
            _check_base(checkpoint, Checkpoint(checkpoint).fingerprint, served)

    def register(
        self, folders: Sequence[Path], silent: Collection[str] = ()
    ) -> list[StoredAdapter]:
        """Register folders as adapters; of several each gets a number behind the name.

        Args:
            folders: each a LoRA or a codebook.
            silent: ids of edits that are not said with the adapter at work: they stay in the
                context, and a folder that holds no others is left out.

        Raises:
            MemeditError: one cannot be; those before it are registered.

        """
        from memedit.config import Settings
        from memedit.wiring import open_memory

        settings = Settings.read(self._source.config, {"memory": {"url": self._source.memory}})
        with open_memory(settings=settings, create=False) as memory:
            return [
                register(folder, self.library, self._named(number, len(folders)), memory, silent)[0]
                for number, folder in enumerate(folders, start=1)
                if not _all_silent(folder, silent)
            ]

    def _named(self, number: int, count: int) -> str | None:
        if self.name is None or count == 1:
            return self.name
        return f"{self.name}-{number}"


def register(
    folder: Path,
    library: Path,
    adapter_id: str | None,
    memory: EditMemory,
    silent: Collection[str] = (),
    since: datetime | None = None,
) -> tuple[StoredAdapter, list[str]]:
    """Copy a folder into a library and register it in a memory, for the edits that it says.

    Those of ``silent``, and those that the folder itself says were not learned, stay in the
    context.  ``since`` is by which it is ranked among adapters of the same edits; ``None``: now.

    Returns:
        The adapter, and the names of earlier versions that were retired.

    Raises:
        InvalidInputError: it says none of its edits, or they are none of a memory; nothing was
            changed.
        MemeditError: it cannot be served, or the memory has not its edits; nothing was changed.

    """
    from memedit.library import Library
    from memedit.library.manifest import read_stored
    from memedit.memory import AdapterKind, AdapterRecord

    check_edits_of_memory(folder)
    if _all_silent(folder, silent):
        raise InvalidInputError(
            f"{folder} did not learn to say any of its {len(read_stored(folder).edits)} edits, so "
            "no prompt may go to it; learn it again, for example with more steps"
        )
    shelf = Library(library)
    # of one id the memory knows all versions, whatever library they lie in
    stored = shelf.add(folder, adapter_id, memory.adapters.view().records)
    record = AdapterRecord(
        stored.name,
        stored.base,
        stored.method,
        tuple(ref for ref in stored.edits if ref.split("@")[0] not in {*silent, *stored.silent}),
        AdapterKind(stored.kind),
        stored.sha256,
        datetime.now(UTC) if since is None else since,
    )
    try:
        return stored, memory.adapters.register(record)
    except MemeditError:
        shelf.remove(stored.name)
        raise


def check_served(folder: Path, served: str | None) -> None:
    """Refuse an adapter that no request would go to, since another model is served.

    Args:
        folder: of the adapter.
        served: ``adapters.base`` of the settings; ``None``: unknown.

    Raises:
        SettingsError: it was learned for another model.
        MemeditError: there is no adapter in the folder.

    """
    from memedit.library.manifest import read_stored

    if served is not None:
        _check_base(folder, read_stored(folder).base, served)


def _check_base(folder: Path, base: str, served: str) -> None:
    if base != served:
        raise SettingsError(
            f"{folder} is for the model with fingerprint {base[:12]}, adapters.base is "
            f"{served[:12]}, so no request would go to it; learn it for the model that is served, "
            "or set adapters.base to what 'memedit adapters fingerprint DIR' prints for that"
        )


def check_edits_of_memory(folder: Path) -> None:
    """Refuse edits that were read from a file: their ids are made up, and in no memory.

    Raises:
        InvalidInputError: it holds such edits, or is no adapter that memedit wrote.
        MissingResourceError: there is no adapter in the folder.

    """
    from memedit.library.manifest import read_manifest

    manifest = read_manifest(folder)  # also of what no server loads: this is its first fault
    listed = manifest.get("edits")
    edits = listed if isinstance(listed, list) else []  # a wrong one is said when it is read whole
    ids = [str(one.get("id")) for one in edits if isinstance(one, dict)]
    local = [one for one in ids if one.startswith("local-")]
    if local:
        raise InvalidInputError(
            f"{folder} was learned from a file: {len(local)} of its {len(edits)} edits have "
            f"no id of a memory (first: {local[0]}); expected edits of this memory, for requests "
            "are sent to an adapter by the stored edits that it holds. Import the file ('memedit "
            f"import FILE') and learn from the memory: memedit adapt --method "
            f"{manifest.get('method')} --model DIR --memory URL --library DIR"
        )


def _all_silent(folder: Path, silent: Collection[str]) -> bool:
    from memedit.library.manifest import read_stored

    stored = read_stored(folder)
    unsaid = {*silent, *stored.silent}
    return bool(stored.edits) and all(ref.split("@")[0] in unsaid for ref in stored.edits)


def servable(adapter: Adapter[Any]) -> None:
    """Refuse a method that no server serves by name; asked before it learns.

    Raises:
        SettingsError: names those that can be.

    """
    from memedit.adapters.catalog import ADAPTERS
    from memedit.adapters.learned import Host

    servers = {Host.VLLM_LORA, Host.VLLM_PLUGIN}
    if servers & adapter.servable_by:
        return
    fit = [name for name in ADAPTERS.names() if servers & ADAPTERS.get(name).servable_by]
    raise SettingsError(
        f"no server serves an adapter of the method {adapter.name}, which --library is for; "
        f"expected one of {', '.join(fit)}"
    )


def teaches_ends(method: str) -> bool:
    """Tell whether a served adapter of a method has to teach the end of its answers, too.

    A LoRA is at work at every token that is generated, so behind a target it may babble on; a
    codebook is at work where the prompt ends, and the rest is the model's own.

    Raises:
        UnknownNameError: no method of that name.

    """
    from memedit.adapters.catalog import ADAPTERS
    from memedit.adapters.learned import Host

    return Host.VLLM_LORA in ADAPTERS.get(method).servable_by


def more_steps(adapter: Adapter[Any]) -> str:
    """Return the option that has a method take three times its steps, for hints."""
    config: Any = adapter.config
    for own in fields(config):
        steps = getattr(getattr(config, own.name), "steps", None)
        if steps is not None:
            return f"--set {own.name}.steps={3 * steps}"
    return "--set NAME=VALUE"


def lora_folders(
    adapter: Adapter[Any], out: Path | None, model: Any, base_model: Path, stack: ExitStack
) -> list[Path]:
    """Return folders that a server serves: one, or one for each block that can be folded.

    Args:
        adapter: what was learned.
        out: where it was saved; ``None``: nowhere.
        model: that it was learned for.
        base_model: its folder, for people who read the adapter's configuration.
        stack: removes what is written in passing.

    """
    drafts = Path(stack.enter_context(TemporaryDirectory(prefix="memedit-")))
    fold = getattr(adapter, "fold", None)
    if fold is None:
        return [out if out is not None else adapter.save(drafts / "adapter")]
    folders: dict[int, Path] = {}
    for edit in adapter.edits:
        number = adapter.block_of(edit.id)  # type: ignore[attr-defined]  # comes with fold
        if number not in folders:
            folders[number] = drafts / str(number)
            fold(edit.id, folders[number], model, base_model=str(base_model))
    return list(folders.values())
