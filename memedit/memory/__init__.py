"""The edit memory: records, history, namespaces."""

from memedit.memory.memory import EditMemory
from memedit.memory.records import NewEdit, VerifyReport

__all__ = ["EditMemory", "NewEdit", "VerifyReport"]
