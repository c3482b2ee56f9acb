"""Documents of a format, written and loaded; what a case asks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from memedit.evaluation.cases import Dataset, EditCase
from memedit.evaluation.datasets import load_dataset

FACT: dict[str, Any] = {
    "subject": "Leo Arons",
    "prompt": "The place of death of Leo Arons is",
    "target_new": "Jena",
    "ground_truth": ["Berlin"],
    "rephrase_prompt": "Leo Arons died in",
    "locality": {
        "Forgetfulness": [{"prompt": "The place of death which is not Jena is", "ground_truth": []}]
    },
    "portability": {
        "Reasoning": [{"prompt": "Where he died lies in", "ground_truth": [["Thuringia", "TH"]]}]
    },
}


def load(folder: Path, format: str, document: Any, name: str = "zsre_test.json") -> Dataset:
    file = folder / name
    file.write_text(json.dumps(document), encoding="utf-8")
    return load_dataset(f"{format}:{file}")


def asked(case: EditCase) -> list[tuple[str, str, str, tuple[str, ...]]]:
    return [(probe.metric.value, probe.kind, probe.prompt, probe.answers) for probe in case.probes]
