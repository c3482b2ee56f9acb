"""Models as values: module names, hooks, subject tokens, weight deltas."""
