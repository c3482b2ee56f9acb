"""The core of a request: wire formats, query text, route, applying it; no network, no server."""
