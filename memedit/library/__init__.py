"""The adapter library: folders that vLLM serves by name, each with what is known of it.

Nothing here needs torch: a proxy reads and checks adapters before a server sees them.  Reading
order: ``manifest`` (what a folder says of itself), ``tensors`` (what is in its file), ``library``,
``inspection`` (whether what lies there can still be served).
"""

from memedit.library.inspection import Fault, Inspection
from memedit.library.library import Library
from memedit.library.manifest import StoredAdapter

__all__ = ["Fault", "Inspection", "Library", "StoredAdapter"]
