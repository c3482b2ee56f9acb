"""The edit memory: records, history, namespaces."""

from memedit.memory.export import edit_lines, export_edits
from memedit.memory.formats import ImportResult, Skipped, read_edits
from memedit.memory.memory import EditMemory
from memedit.memory.records import NewEdit, VerifyReport

__all__ = [
    "EditMemory",
    "ImportResult",
    "NewEdit",
    "Skipped",
    "VerifyReport",
    "edit_lines",
    "export_edits",
    "read_edits",
]
