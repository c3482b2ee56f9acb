"""The command line: ``memedit COMMAND``.  Commands import what they need when they run."""

from __future__ import annotations


def main() -> None:
    """Run the command line; never returns normally, the exit code says how it went."""
    from memedit.cli.app import app

    app()


__all__ = ["main"]
