from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from memedit.errors import DatasetError, InvalidInputError
from memedit.scope import calibrate
from memedit.scope.base import Encoder, Vectors
from memedit.scope.calibration import Calibration, family, shipped_calibration, shipped_record
from memedit.scope.cosine import Cosine
from memedit.scope.probes import FILES, Kind, asks_the_same, read_probes
from memedit.types import EditRequest


class Named:
    """An encoder of which only the name matters."""

    dim = 2

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint

    def encode(self, texts: Sequence[str]) -> Vectors:
        return np.tile(np.array([[1, 0]], dtype=np.float32), (len(texts), 1))


def test_the_shipped_calibration_is_that_of_the_default_encoder(encoder: Encoder) -> None:
    assert shipped_calibration().encoder == family(encoder.fingerprint)
    classifier = Cosine.open(encoder)
    assert classifier.note is None
    assert classifier.threshold == shipped_calibration().threshold_probability


def test_another_encoder_is_said_aloud(caplog: pytest.LogCaptureFixture) -> None:
    classifier = Cosine.open(Named("feed/128/torch"))

    assert classifier.note is not None and "feed/128/torch" in classifier.note
    assert "feed/128/torch" in caplog.text


def test_a_quantised_runtime_is_a_family_of_its_own() -> None:
    assert family("aa/256/onnx-1") == family("aa/256/torch") == "aa/256"
    assert family("aa/256/onnx-int8-1") != "aa/256"
    assert family("odd") == "odd"


@pytest.mark.parametrize("slope", [0.0, -1.0, float("nan")])
def test_a_calibration_must_grow_with_similarity(slope: float) -> None:
    with pytest.raises(InvalidInputError, match="slope"):
        Calibration(slope, 0.0, 0.5, "x")


def test_the_threshold_stands_by_what_was_measured() -> None:
    record = shipped_record()
    low, high = record["threshold_spread"]
    assert low <= record["threshold"] <= high
    for row in record["held_out"].values():
        assert row["spread"][0] <= row["fires"] <= row["spread"][1]


def write_data(folder: Path, n: int = 60) -> None:
    """Write files in the benchmarks' own formats, about plainly invented places."""
    knowedit = [
        {
            "subject": f"Place{i}",
            "prompt": f"What is the capital of Place{i}?",
            "target_new": f"City{i}",
            "ground_truth": [f"Old{i}"],
            "rephrase_prompt": f"Which city is the capital of Place{i}?",
            "portability": {
                "Subject_Aliasing": [{"prompt": f"What is the capital of the land {i}?"}]
            },
            "locality": {
                "Relation_Specificity": [
                    {"prompt": f"The river of Place{i} is", "ground_truth": [[f"River{i}"]]},
                    {"prompt": f"The capital of Place{i} is", "ground_truth": ["Elsewhere"]},
                    {"prompt": f"The seat of Place{i} is", "ground_truth": [f"Old{i}"]},
                ]
            },
        }
        for i in range(n)
    ]
    mend = [
        {
            "subject": f"Tower{i}",
            "src": f"Who built Tower{i}?",
            "rephrase": f"By whom was Tower{i} built?",
            "alt": f"Builder{i}",
            "loc": f"nq question: how many rivers end at lake number {i}",
        }
        for i in range(n)
    ]
    traffic = [{"question": f"How tall is Tower{i}?", "relation": "P1"} for i in range(n)]
    traffic += [{"question": f"Who wrote book {i}?", "relation": "P50"} for i in range(n)]
    contents = {"zsre": knowedit, "counterfact": knowedit, "mend": mend, "traffic": traffic}
    for name, records in contents.items():
        path = folder / FILES[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(records), encoding="utf-8")


def test_probes_that_ask_what_an_edit_changes_are_dropped(tmp_path: Path) -> None:
    write_data(tmp_path)
    zsre, _, mend = read_probes(tmp_path)

    assert zsre.dropped == 120
    near = [probe.text for probe in zsre.probes if probe.kind is Kind.NEAR]
    assert near == [f"The river of Place{i} is" for i in range(60)]
    assert mend.dropped == 60
    assert not any("Tower" in probe.text for probe in mend.probes if probe.kind is Kind.FAR)


def test_the_relation_is_compared_without_its_subject() -> None:
    edit = EditRequest(
        prompt="Which country's citizenship does Ada hold?", subject="Ada", target_new="Utopia"
    )
    assert asks_the_same("The country of citizenship of Ada is", frozenset(), edit)
    assert asks_the_same("Ada's passport is from", frozenset({"utopia"}), edit)
    assert not asks_the_same("The mother of Ada is", frozenset({"anne"}), edit)


def test_data_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="zsre_dev"):
        read_probes(tmp_path)
    write_data(tmp_path)
    (tmp_path / FILES["mend"]).write_text('[{"src": "a"}]')
    with pytest.raises(DatasetError, match="lacks a field"):
        read_probes(tmp_path)


def test_the_script_calibrates_and_reports_held_out_numbers(
    tmp_path: Path, encoder: Encoder
) -> None:
    write_data(tmp_path)
    out = tmp_path / "record.json"

    assert calibrate.main(["--data", str(tmp_path), "--out", str(out), "--rate", "0.05"]) == 0

    record = json.loads(out.read_text())
    fitted = Calibration(
        record["slope"], record["intercept"], record["threshold"], record["encoder"]
    )
    assert fitted.encoder == family(encoder.fingerprint)
    assert record["held_out"]["zsre paraphrase"]["n"] > 10
    assert 0 < record["threshold"] < 1
    assert set(record["folds"]) == {"subject 0", "subject 1", "relation 0", "relation 1"}
    assert record["date"] == datetime.now(UTC).date().isoformat()


def test_halves_are_a_partition() -> None:
    names = np.array([f"Place{i}" for i in range(1_000)])
    first, second = calibrate.in_half(names, 0), calibrate.in_half(names, 1)
    assert (first ^ second).all()
    assert 400 < first.sum() < 600


@pytest.mark.data
def test_the_shipped_numbers_hold_on_a_sample_of_the_real_data(
    repository: Path, encoder: Encoder
) -> None:
    folder = repository.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no benchmark data beside the repository")
    zsre = read_probes(folder)[0]
    scored = calibrate.score([zsre], encoder)
    held = scored[calibrate.in_half(scored.subject, 1)]

    measured = calibrate.measure(held, shipped_calibration().threshold)

    for name, row in measured.items():
        assert row["fires"] == pytest.approx(shipped_record()["held_out"][name]["fires"], abs=0.01)
