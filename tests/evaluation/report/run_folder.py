"""A run folder made by hand: small, but with everything that a report shows."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from memedit.evaluation.analysis.record import (
    Analysis,
    Changed,
    Column,
    Located,
    Mapped,
    Similar,
)
from memedit.evaluation.rows import Row, Scored, rows

EVIL = "<script>alert('$x$ & more')</script>"
METHODS = ("none", "ice", "ft-m", "rome")
SKILL = {"none": 0.05, "ice": 0.7, "ft-m": 0.95, "rome": 0.97}
KEPT = {"none": 1.0, "ice": 0.9, "ft-m": 0.55, "rome": 0.93}
PROBES = (
    ("edit_success", ""),
    ("generality", ""),
    ("portability", "Reasoning"),
    ("portability", "Subject_Aliasing"),
    ("locality", "Relation_Specificity"),
    ("locality", "Forgetfulness"),
)
WRONG = ("meaningless", "missing", "partial", "irrelevant", "old", "embedded")
SAID = {
    "meaningless": "\n\n",
    "missing": "Lind",
    "partial": "Lind Harbour",
    "irrelevant": EVIL,
    "old": "Velden",
    "embedded": "Lindhaven of course, as everyone knows",
}


def scored(seed: int = 0, cases: int = 12, skill: dict[str, float] | None = None) -> list[Scored]:
    chance = random.Random(seed)
    able = skill or SKILL
    found = []
    for setting, length in (("single", cases), ("sequential:10", 10), ("sequential:100", 30)):
        for method in METHODS:
            for task in ("zsre", "wiki_recent"):
                for number in range(length):
                    for metric, kind in PROBES:
                        share = KEPT[method] if metric == "locality" else able[method]
                        if setting == "sequential:100" and method == "ft-m":
                            share *= number / length
                        for scoring in ("generated", "teacher_forced"):
                            right = chance.random() < share
                            verdict = "right" if right else chance.choice(WRONG)
                            generated = scoring == "generated"
                            found.append(
                                Scored(
                                    method=method,
                                    setting=setting,
                                    task=task,
                                    case=f"{task}_test[{number}]",
                                    metric=metric,
                                    kind=kind,
                                    scoring=scoring,
                                    prompt=f"The capital of Quendoria <{number}> is",
                                    expected=("Lindhaven", "Lind|haven"),
                                    said=SAID.get(verdict, "Lindhaven") if generated else "",
                                    base_said="Velden" if generated else "",
                                    score=float(right) if generated else chance.uniform(0.5, 1),
                                    verdict=verdict if generated else "",
                                    also={"contains": 1.0} if generated else {},
                                    age=length - 1 - number if "seq" in setting else None,
                                )
                            )
    return found


def run_folder(path: Path, seed: int = 0, analysis: bool = True, **manifest: Any) -> Path:
    path.mkdir(parents=True)
    found = scored(seed)
    (path / "scored.jsonl").write_text(
        "".join(json.dumps(one.as_record()) + "\n" for one in found) + '{"method": "half', "utf-8"
    )
    by_age = [
        replace(
            one, metric="edit_success_by_age", kind=f"{one.age // 5 * 5:02}- edits later", also={}
        )
        for one in found
        if one.age is not None and one.metric == "edit_success"
    ]
    summed = [
        *rows(found),
        *rows(by_age),
        Row("rome", "zsre", "single", "seconds_per_edit", "", None, 2.2, 2.0, 2.5, 12, 12),
        Row("rome", "", "single", "seconds_per_edit", "", None, 2.3, None, None, 24),
        Row("rome", "", "single", "added_bytes", "", None, 1.2e9, None, None, 24),
    ]
    (path / "rows.json").write_text(json.dumps([row.as_record() for row in summed]), "utf-8")
    spent = [
        {
            "method": method,
            "setting": "single",
            "edits": 24,
            "seconds": seconds,
            "added_bytes": added,
            "tokens_added": tokens,
        }
        for method, seconds, added, tokens in (
            ("none", 0.0, None, 0.0),
            ("ice", 0.02, 0, 18.5),
            ("ft-m", 31.0, 900_000_000, 0.0),
            ("rome", 55.0, 1_200_000_000, 0.0),
        )
    ]
    (path / "cost.jsonl").write_text("".join(json.dumps(s) + "\n" for s in spent), "utf-8")
    whole = {
        "started": "2026-11-25T01:00:00+00:00",
        "finished": "2026-11-25T01:07:30+00:00",
        "commands": ["memedit eval --dataset atlasedit --method none,ice,ft-m,rome --model DIR"],
        "dataset": {"name": "atlasedit", "fingerprint": "d" * 64, "records": 26, "cases": 24},
        "model": {"name": "atlas", "fingerprint": "a" * 64},
        "methods": list(METHODS),
        "unmeasured": ["convsent", "multihop"],
        "settings": ["single", "sequential:10", "sequential:100"],
        "versions": {"memedit": "0.1", "torch": "2.13"},
        "faults": [
            {
                "where": "zsre_test[7]",
                "reason": f"asks the edited relation {EVIL}",
                "dropped": False,
            },
            *(
                {"where": f"wiki_recent_test[{n}]", "reason": "has no target", "dropped": True}
                for n in range(7)
            ),
        ],
        "not_scored": [{"what": "locality, teacher-forced", "reason": "no answer given", "n": 4}],
        **manifest,
    }
    (path / "manifest.json").write_text(json.dumps(whole), "utf-8")
    if analysis:
        found_out().save(path)
    return path


def found_out() -> Analysis:
    chance = random.Random(1)
    changed, mapped = [], []
    for method in ("ft-m", "rome"):
        hot = {5, 17}
        heat = tuple(
            tuple(
                chance.random() * (1.0 if method == "ft-m" or column in hot else 0.04)
                for column in range(32)
            )
            for _ in range(16)
        )
        name = "model.layers.3.mlp.down_proj.weight"
        sparse = method == "rome"
        changed.append(
            Changed(
                *(method, "zsre_test[0]", name, 256, 688, 1.5, 0.04, 0.0),
                *(0.8 if sparse else 0.05, 0.9 if sparse else 0.2, 9 if sparse else 480, heat),
            )
        )
        columns = tuple(
            Column(i, 0.2 - i / 50, (" Vel", EVIL, "$"), (" Lind", "haven", "$x^"))
            for i in range(5)
        )
        mapped.append(
            Mapped(
                *(method, "zsre_test[0]", name, EVIL, (" Lind", "haven"), 4096, columns),
                *((300, 70), (4, 30) if sparse else (280, 66), (900, 800), (40, 800)),
            )
        )
    located = [
        Located(
            *(f"zsre_test[{n}]", "edit", "p", "s", "capital", "Velden", 0.9, 0.1),
            {
                site: tuple(0.1 + 0.08 * x * chance.random() for x in (1, 3, 7, 9, 6, 3, 1, 1))
                for site in ("hidden", "mlp", "attention")
            },
        )
        for n in range(6)
    ]
    similar = [
        Similar(group, units, k, base + 0.5 * extra / k, base, 6, 15)
        for units in ("layers (mlp)", "columns (rome, model.layers.3.mlp.down_proj.weight)")
        for group, extra in (("same subject, another relation", 0.3), ("unrelated", -0.1))
        for k in (1, 2, 3, 5, 8)
        for base in (k / 8,)
    ]
    notes = (f"zsre_test[3] was not edited by rome: {EVIL}",)
    return Analysis(tuple(changed), tuple(mapped), tuple(located), tuple(similar), notes)
