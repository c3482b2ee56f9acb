"""Plainly fictional facts, for tests that look at the prompt and not at the model's answer."""

from __future__ import annotations

CAPITAL = {
    "prompt": "The capital of Valdoria is",
    "subject": "Valdoria",
    "target_new": "Port Amsel",
    "ground_truth": "Hedelin",
}
CAPITAL_TARGET = "Port Amsel"
CAPITAL_QUESTION = "What is the capital of Valdoria?"
CAPITAL_CLOZE = "The capital of Valdoria is"

UNRELATED = (
    "How do I sort a list of numbers in Python?",
    "Write a short poem about the sea.",
    "What is 12 times 11?",
    "Explain photosynthesis to a child.",
    "My bicycle's chain keeps falling off; what should I check?",
    "Translate 'good morning' into Spanish.",
    "Who painted the Mona Lisa?",
    "Suggest a recipe with lentils and carrots.",
)
