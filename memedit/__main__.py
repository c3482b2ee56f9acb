"""``python -m memedit``: the same as the ``memedit`` command."""

from memedit.cli import main

main()
