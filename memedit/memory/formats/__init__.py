"""Files that edits are read from: one module per format."""

from memedit.memory.formats.read import ImportResult, Skipped, read_edits

__all__ = ["ImportResult", "Skipped", "read_edits"]
