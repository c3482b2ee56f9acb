"""Installed as ``memedit.indexes``; see DESIGN: the folder stands beside the package."""

if __name__ != "memedit.indexes":
    raise ImportError(
        f"imported as {__name__!r}; import 'memedit.indexes' instead "
        "(a second copy under another name would not share its classes)"
    )
