"""The agent's methods by name."""

from __future__ import annotations

from typing import Final

from memedit.agent.base import AgentMethod
from memedit.registry import Registry

AGENTS: Final[Registry[AgentMethod]] = Registry(
    kind="agent method",
    package="memedit.agent",
    base=AgentMethod,  # type: ignore[type-abstract]  # a base is only compared with
    group="memedit.agent",
)
