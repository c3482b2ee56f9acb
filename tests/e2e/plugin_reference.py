"""The reference model in transformers beside what a vLLM with memedit's plugin serves."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from memedit import EditRequest
from memedit.adapters import open_adapter
from memedit.editing.catalog import open_editor
from memedit.editing.statistics import Statistics
from memedit.modeling.delta import LowRank, WeightDelta
from memedit.modeling.fingerprint import model_fingerprint
from tests.e2e.plugged import Said, write_lora
from tests.e2e.stack import model_folder
from tests.e2e.wires import MODEL

CLOSE = 1e-4
EDITS = (
    EditRequest(prompt="The colour of Valdoria is", subject="Valdoria", target_new="green"),
    EditRequest(prompt="The river of Marovia is the", subject="Marovia", target_new="water"),
    EditRequest(prompt="The queen of Quendoria is", subject="Quendoria", target_new="Ada"),
)
OTHER = (EditRequest(prompt="The colour of Valdoria is", subject="Valdoria", target_new="Ada"),)
TOWNS = ("Ada", "Kiel", "Bern", "Oslo", "Lima")
BAKED = tuple(
    EditRequest(
        prompt=f"The {part} of {country} is", subject=country, target_new=TOWNS[n % len(TOWNS)]
    )
    for n, (part, country) in enumerate(
        (part, country)
        for part in ("colour", "river", "queen", "capital", "flag")
        for country in ("Canada", "Indonesia", "Kenya", "Peru", "Chad", "Cuba", "Fiji", "Iran",
                        "Laos", "Mali")
    )
)  # fmt: skip
"""Fifty edits for bakes."""
PROMPTS = (
    *(edit.prompt for edit in EDITS),
    "The sun rises in the",
    "Once upon a time there was a small ship that sailed to the north, and nobody knew its name",
)


class Reference:
    """The reference model in transformers, and what was made for it in the library."""

    def __init__(self, library: Path) -> None:
        import transformers

        folder = model_folder()
        self.model: Any = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32
        )
        self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
        self.base = model_fingerprint(self.model)
        self.library = library
        self.prompts = [self.ids(text) for text in PROMPTS]
        self.grace = self._grace("memedit-grace-1", EDITS, 3)
        self.other = self._grace("memedit-other-1", OTHER, 2)
        self.deltas: dict[str, WeightDelta] = {}
        for number, seed in (("1", 1), ("2", 2)):
            self._lora(f"memedit-lora-{number}", seed)
        self.ways: dict[str, Any] = {
            MODEL: nullcontext,
            "memedit-grace-1": lambda: self.grace.attached(self.model),
            "memedit-other-1": lambda: self.other.attached(self.model),
            "memedit-lora-1": lambda: self.deltas["memedit-lora-1"].applied(self.model),
            "memedit-lora-2": lambda: self.deltas["memedit-lora-2"].applied(self.model),
        }

    def ids(self, text: str) -> list[int]:
        found: list[int] = self.tokenizer(text)["input_ids"]
        return found

    def way(self, name: str) -> AbstractContextManager[Any]:
        """Return the block in which the model is what the server has under that name."""
        way: AbstractContextManager[Any] = self.ways[name]()
        return way

    def check(self, said: Said, name: str) -> None:
        with self.way(name):
            assert said.worst(self.model) < CLOSE, name

    def bakes(self) -> tuple[WeightDelta, WeightDelta]:
        """Bake one fact by ROME and fifty by MEMIT, quickly: no more than changed answers."""
        corpus = self.library.parent / "corpus.txt"
        corpus.write_text("\n\n".join(edit.prompt for edit in BAKED), encoding="utf-8")
        kept = Statistics(corpus, ridge=0.1, cache=self.library.parent / "moments")
        quick = {"contexts": 1, "search": {"steps": 12, "clamp": 12.0, "rate": 0.3}}
        found = []
        for name, where, edits in (
            ("rome", {"layer": 3}, BAKED[:1]),
            ("memit", {"layers": (1, 2, 3), "layer": 3}, BAKED),
        ):
            editor = open_editor(name, {**where, **quick}, statistics=kept)
            delta = editor.edit(self.model, self.tokenizer, edits)
            found.append(replace(delta, base=self.base))
        rome, memit = found
        return rome, memit

    def low_rank(self, seed: int, layers: tuple[int, ...] = (2, 5), rank: int = 3) -> WeightDelta:
        """Return a random change, large enough to be seen."""
        random = torch.Generator().manual_seed(seed)
        changes = {}
        for layer in layers:
            name = f"model.layers.{layer}.mlp.down_proj.weight"
            out, wide = self.model.get_parameter(name).shape
            left, right = (torch.randn(n, rank, generator=random) * 0.08 for n in (out, wide))
            changes[name] = LowRank(left, right.T.contiguous())
        return WeightDelta(changes, method="random", base=self.base)

    def _grace(self, name: str, edits: tuple[EditRequest, ...], layer: int) -> Any:
        adapter = open_adapter("grace", {"layer": layer})
        adapter.learn(self.model, self.tokenizer, edits)
        adapter.save(self.library / name)
        return adapter

    def _lora(self, name: str, seed: int) -> None:
        delta = self.low_rank(seed)
        self.deltas[name] = delta
        write_lora(self.library / name, factors_of(delta))


def factors_of(delta: WeightDelta) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    found = {}
    for name, change in delta.changes.items():
        assert isinstance(change, LowRank)
        found[name.removesuffix(".weight")] = (change.right, change.left)
    return found
