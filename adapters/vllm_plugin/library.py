"""The folder in which what is served lies by its name, in versions that never change.

::

    LIBRARY/
        memedit-quendoria-1/    adapter_config.json + adapter_model.safetensors (PEFT),
                                or what Grace.save wrote, or what WeightDelta.save wrote
        memedit-quendoria-2/

It may be shared by many servers.  A folder is written elsewhere and renamed into it, as all of
memedit's ``save`` do; another content is another version.
"""

from __future__ import annotations

from pathlib import Path

from memedit.errors import InvalidInputError, NotFoundError
from memedit.types import ADAPTER_NAME

LIBRARY = "MEMEDIT_ADAPTER_LIBRARY"
"""The environment variable that names the folder."""
PREFIX = "memedit-"
"""What all names begin with; others are none of ours."""


class AdapterLibrary:
    """A folder of versions."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def folder(self, name: str) -> Path:
        """Return the folder of that name, its links followed.

        Raises:
            InvalidInputError: that is no name, or it leads out of the library.
            NotFoundError: there is no such folder.

        """
        if ADAPTER_NAME.fullmatch(name) is None:
            raise InvalidInputError(
                f"{name[:200]!r} is no name in the adapter library; expected memedit-<id>-<version>"
            )
        root = self.root.resolve()
        folder = (root / name).resolve()
        # A link may name another version in the library; it may not name anything else.
        if root not in folder.parents:
            raise InvalidInputError(f"{name!r} leads out of the adapter library and is not read")
        if not folder.is_dir():
            raise NotFoundError(f"the adapter library has no {name!r}")
        return folder
