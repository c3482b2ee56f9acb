"""The adapter library: folders that vLLM serves by name, each with what is known of it.

Nothing here needs torch: a proxy reads and checks adapters before a server sees them.  Reading
order: ``manifest`` (what a folder says of itself), ``tensors`` (what is in its file), ``library``.
"""

from memedit.library.library import Library
from memedit.library.manifest import StoredAdapter

__all__ = ["Library", "StoredAdapter"]
