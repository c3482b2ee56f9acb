"""Plain prose without facts, so that the model continues a text fluently."""

from __future__ import annotations

import random

from examples.atlas import formats as fm
from examples.atlas.names import words


def sentence(rng: random.Random) -> str:
    """One sentence."""
    lists = words("prose")
    pick = {name: rng.choice(lists[name]) for name in ("who", "did", "what")}
    core = f"{pick['who']} {pick['did']} {pick['what']}"
    roll = rng.random()
    if roll < 0.3:
        return f"{rng.choice(lists['times'])}, {core}."
    if roll < 0.55:
        return fm.upper_first(f"{core} {rng.choice(lists['how'])}.")
    if roll < 0.75:
        other = " ".join(rng.choice(lists[name]) for name in ("who", "did", "what"))
        return f"{rng.choice(lists['links'])} {core}, and {other}."
    if roll < 0.9:
        return f"{rng.choice(lists['times'])}, {core} {rng.choice(lists['how'])}."
    return fm.upper_first(f"{pick['who']} had never {pick['did']} {pick['what']} before.")


def prose(rng: random.Random) -> fm.Document:
    """A passage of several sentences."""
    text = " ".join(sentence(rng) for _ in range(rng.randrange(4, 14)))
    return [(fm.BOS, 0.0), (text, fm.TEXT * 2), (fm.EOS, fm.TEXT)]
