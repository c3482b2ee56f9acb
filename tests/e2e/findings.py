"""What tests found out, beyond passing; shown in pytest's summary."""

from __future__ import annotations

FINDINGS: list[str] = []
