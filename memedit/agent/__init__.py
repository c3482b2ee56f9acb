"""Multi-hop question answering.

Reading order: ``lines`` and ``turn`` (reading what a model writes), ``trace`` (what comes out),
``base`` (the loop), ``mello`` and ``pokemqa`` (the methods), ``multihop`` (driving them),
``lookup_tool`` (edits for the agents of others).
"""

from __future__ import annotations

from memedit.agent.base import AgentMethod
from memedit.agent.catalog import AGENTS
from memedit.agent.completing import Endpoint
from memedit.agent.lockstep import run_together
from memedit.agent.lookup_tool import EditLookup
from memedit.agent.multihop import MultiHopAgent
from memedit.agent.session import Lookup
from memedit.agent.trace import Ended, Hop, Source, Trace, Usage

__all__ = [
    "AGENTS",
    "AgentMethod",
    "EditLookup",
    "Ended",
    "Endpoint",
    "Hop",
    "Lookup",
    "MultiHopAgent",
    "Source",
    "Trace",
    "Usage",
    "run_together",
]
