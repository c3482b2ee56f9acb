"""Installed as ``memedit.adapters``; see DESIGN: the folder stands beside the package."""

if __name__ != "memedit.adapters":
    raise ImportError(
        f"imported as {__name__!r}; import 'memedit.adapters' instead "
        "(a second copy under another name would not share its classes)"
    )
