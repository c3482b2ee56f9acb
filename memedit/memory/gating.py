"""Which texts an edit lets through the gate of its namespace: those that may name it."""

from __future__ import annotations

from memedit.indexes.name_gate import NameGate
from memedit.indexes.names import names_of, words_of
from memedit.memory.inverse import inverse_of
from memedit.types import EditRequest


def let_through(gate: NameGate, key: int, request: EditRequest) -> None:
    """Store an edit in a gate.

    An edit that says something of its target too (see ``inverse``) lets that name through as well.
    An edit that is known by no name holds the gate open: one whose whole prompt stands for its
    subject (as that of free feedback), or whose prompt does not name it.  Rephrases that do not
    name it pass word for word.
    """
    names = names_of(request.subject, request.aliases)
    own = NameGate()
    own.add(0, names)
    whole = words_of(request.subject).words == words_of(request.prompt).words
    if whole or not own.passes(request.prompt):
        gate.add(key, ())
        return
    inverse = inverse_of(request)
    if inverse is not None and not own.held_open:  # a name in other letters holds it open
        names = (*names, *names_of(inverse.subject, ()))
    gate.add(key, names, [text for text in request.rephrases if not own.passes(text)])
