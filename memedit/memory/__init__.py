"""The edit memory: records, history, namespaces."""

from memedit.memory.adapter_records import AdapterKind, AdapterRecord, AdapterView, TargetKind
from memedit.memory.export import edit_lines, export_edits
from memedit.memory.formats import ImportResult, Skipped, read_edits
from memedit.memory.memory import EditMemory
from memedit.memory.questions import MOST_QUESTIONS, Questions
from memedit.memory.records import Generated, NewEdit, VerifyReport

__all__ = [
    "MOST_QUESTIONS",
    "AdapterKind",
    "AdapterRecord",
    "AdapterView",
    "EditMemory",
    "Generated",
    "ImportResult",
    "NewEdit",
    "Questions",
    "Skipped",
    "TargetKind",
    "VerifyReport",
    "edit_lines",
    "export_edits",
    "read_edits",
]
