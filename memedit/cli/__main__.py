"""``python -m memedit.cli``: the same as the ``memedit`` command."""

from memedit.cli import main

main()
