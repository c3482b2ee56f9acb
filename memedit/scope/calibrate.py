"""Calibrating ``cosine`` for an encoder: ``python -m memedit.scope.calibrate --data FOLDER``.

Every set's edits are all in memory, as they would be in use.  A positive is a paraphrase's
similarity to its own edit; a negative is an unrelated prompt's similarity to the nearest edit.
Unrelated prompts are mixed as traffic is: a share of them is about an edited subject (``near``),
the rest is about anything else (``far``).  Coefficients and threshold come from one half of the
subjects and are measured on the other.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from memedit.config import EncoderSettings
from memedit.errors import DatasetError
from memedit.scope.base import Encoder, Vectors
from memedit.scope.calibration import Calibration, family
from memedit.scope.encoder import open_encoder
from memedit.scope.platt import bootstrap, fit_platt, rate_above, threshold_for
from memedit.scope.probes import FILES, Kind, ProbeSet, read_probes

CANDIDATES = 5
"""Edits that a search brings up."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Probes with their similarity; all arrays ``[n]``, in one order."""

    source: npt.NDArray[np.str_]
    kind: npt.NDArray[np.str_]
    subject: npt.NDArray[np.str_]
    relation: npt.NDArray[np.str_]
    similarity: npt.NDArray[np.float32]
    """To the own edit (-1 if it is not among the candidates), or to the nearest one."""

    def __getitem__(self, chosen: npt.NDArray[Any]) -> Scored:
        return Scored(
            self.source[chosen],
            self.kind[chosen],
            self.subject[chosen],
            self.relation[chosen],
            self.similarity[chosen],
        )

    def of(self, kind: Kind, source: str | None = None) -> Scored:
        """Return the probes of one kind, and of one set."""
        mask = self.kind == kind.value
        return self[mask & (self.source == source) if source else mask]


def score(sets: Sequence[ProbeSet], encoder: Encoder) -> Scored:
    """Encode edits and probes and search each set's edits for its probes."""
    columns: list[tuple[str, str, str, str, float]] = []
    for given in sets:
        texts: list[str] = []
        owners: list[int] = []
        for position, edit in enumerate(given.edits):
            for text in dict.fromkeys((edit.prompt, edit.plain_statement(), *edit.rephrases)):
                texts.append(text)
                owners.append(position)
        memory = encoder.encode(texts)
        queries = encoder.encode([probe.text for probe in given.probes])
        starts = np.flatnonzero(np.diff(np.array(owners), prepend=-1))
        for probe, best in zip(given.probes, _best(queries, memory, starts), strict=True):
            if probe.target is None:
                value = float(best.max())
            else:
                value = float(best[probe.target])
                if int((best > value).sum()) >= CANDIDATES:
                    value = -1.0
            columns.append(
                (given.name, probe.kind.value, probe.subject.casefold(), probe.relation, value)
            )
    names = [np.array(column, dtype=np.str_) for column in list(zip(*columns, strict=True))[:4]]
    values = np.array([row[4] for row in columns], dtype=np.float32)
    return Scored(names[0], names[1], names[2], names[3], values)


def _best(queries: Vectors, memory: Vectors, starts: npt.NDArray[np.intp]) -> Any:
    """Yield, for each query, its similarity to every edit: float32 [n_edits]."""
    for first in range(0, len(queries), 256):
        similarity = queries[first : first + 256] @ memory.T
        yield from np.maximum.reduceat(similarity, starts, axis=1)


def negative_weights(negatives: Scored, near_share: float) -> npt.NDArray[np.float64]:
    """Return weights under which ``near_share`` of the negatives is near; each set counts alike."""
    weights = np.zeros(len(negatives.similarity))
    for kind, share in ((Kind.NEAR, near_share), (Kind.FAR, 1 - near_share)):
        mine = negatives.kind == kind.value
        sources = np.unique(negatives.source[mine])
        for source in sources:
            chosen = mine & (negatives.source == source)
            weights[chosen] = share / len(sources) / chosen.sum()
    return weights


def calibrate(scored: Scored, encoder: str, *, rate: float, near_share: float) -> Calibration:
    """Fit coefficients, and the threshold at which ``rate`` of the mixed negatives fire."""
    positives = scored.of(Kind.PARAPHRASE)
    negatives = scored[np.isin(scored.kind, [Kind.NEAR.value, Kind.FAR.value])]
    weights = negative_weights(negatives, near_share)
    slope, intercept = fit_platt(
        positives.similarity[positives.similarity > -1],
        negatives.similarity,
        negative_weights=weights,
    )
    threshold = threshold_for(negatives.similarity, rate, weights)
    return Calibration(slope, intercept, threshold, encoder)


def in_half(names: npt.NDArray[np.str_], half: int) -> npt.NDArray[np.bool_]:
    """Tell which names fall into half 0 or 1, by a hash: the same on every machine."""
    digests = [hashlib.sha256(name.encode()).digest()[0] % 2 for name in names.tolist()]
    chosen: npt.NDArray[np.bool_] = np.array(digests, dtype=np.int64) == half
    return chosen


def measure(held: Scored, threshold: float) -> dict[str, Any]:
    """Return the share that fires of every kind in every set, with its 95% spread."""
    table: dict[str, Any] = {}
    for source in np.unique(held.source).tolist():
        for kind in Kind:
            probes = held.of(kind, source)
            if not len(probes.similarity):
                continue
            fires = probes.similarity >= threshold

            def share(drawn: npt.NDArray[np.intp], of: npt.NDArray[np.bool_] = fires) -> float:
                return float(of[drawn].mean())

            low, high = bootstrap(share, probes.subject)
            table[f"{source} {kind.value}"] = {
                "fires": round(float(fires.mean()), 4),
                "spread": [round(low, 4), round(high, 4)],
                "n": len(fires),
            }
    return table


def report(
    scored: Scored, encoder: str, *, rate: float, near_share: float, date: str
) -> dict[str, Any]:
    """Calibrate on one half of the subjects; measure on the other, and across relations."""
    train, held = (scored[in_half(scored.subject, half)] for half in (0, 1))
    chosen = calibrate(train, encoder, rate=rate, near_share=near_share)
    negatives = train[np.isin(train.kind, [Kind.NEAR.value, Kind.FAR.value])]

    def threshold(drawn: npt.NDArray[np.intp]) -> float:
        sample = negatives[drawn]
        return threshold_for(sample.similarity, rate, negative_weights(sample, near_share))

    low, high = bootstrap(threshold, negatives.subject)
    folds: dict[str, Any] = {}
    by: Literal["subject", "relation"]
    for by in ("subject", "relation"):
        names: npt.NDArray[np.str_] = getattr(scored, by)
        for half in (0, 1):
            fit = calibrate(scored[in_half(names, half)], encoder, rate=rate, near_share=near_share)
            other = scored[in_half(names, 1 - half)]
            folds[f"{by} {half}"] = {"threshold": round(fit.threshold, 4)} | {
                name: row["fires"] for name, row in measure(other, fit.threshold).items()
            }
    return {
        "encoder": chosen.encoder,
        "slope": round(chosen.slope, 6),
        "intercept": round(chosen.intercept, 6),
        "threshold": round(chosen.threshold, 4),
        "threshold_spread": [round(low, 4), round(high, 4)],
        "date": date,
        "data": sorted(FILES.values()),
        "split": "by subject: SHA-256 of the case-folded subject, even first byte to fit",
        "false_alarms_aimed_at": rate,
        "near_share": near_share,
        "held_out": measure(held, chosen.threshold),
        "folds": folds,
        "operating_points": operating_points(held),
    }


def operating_points(held: Scored) -> list[dict[str, float]]:
    """Return what other thresholds would give, averaged over the sets."""

    def mean(kind: Kind, threshold: float) -> float:
        parts = [held.of(kind, source) for source in np.unique(held.source).tolist()]
        rates = [rate_above(part.similarity, threshold) for part in parts if len(part.similarity)]
        return round(float(np.mean(rates)), 4)

    return [
        {"threshold": value} | {kind.value: mean(kind, value) for kind in Kind}
        for value in (0.70, 0.75, 0.80, 0.85, 0.90, 0.95)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the calibration and write its record as JSON."""
    parser = argparse.ArgumentParser(prog="python -m memedit.scope.calibrate")
    parser.add_argument("--data", type=Path, required=True, help="folder of the benchmarks' files")
    parser.add_argument("--model", default=EncoderSettings().model, help="encoder, name or path")
    parser.add_argument("--runtime", choices=("auto", "onnx", "torch"), default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.01, help="false alarms aimed at")
    parser.add_argument(
        "--near-share", type=float, default=0.04, help="unrelated prompts about an edited subject"
    )
    parser.add_argument("--out", type=Path, help="write here; default: standard output")
    given = parser.parse_args(arguments)
    settings = EncoderSettings(model=given.model, runtime=given.runtime, threads=given.threads)
    encoder = open_encoder(settings)
    try:
        sets = read_probes(given.data)
    except DatasetError as error:
        parser.exit(2, f"{error}\n")
    record = report(
        score(sets, encoder),
        family(encoder.fingerprint),
        rate=given.rate,
        near_share=given.near_share,
        date=datetime.now(UTC).date().isoformat(),
    )
    record["dropped"] = {each.name: each.dropped for each in sets}
    record["edits"] = {each.name: len(each.edits) for each in sets}
    text = json.dumps(record, indent=2) + "\n"
    if given.out is None:
        sys.stdout.write(text)
    else:
        given.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
