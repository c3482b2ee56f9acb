"""Worked examples: the reference model Atlas, a quickstart and agents."""
