"""In-domain, cross-domain, and what was trained on: told by files, formats and names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memedit.errors import InvalidInputError, MissingResourceError
from memedit.evaluation.cases import DataFile
from memedit.evaluation.training_data import Domain, read_trained


def written(folder: Path, *files: dict[str, str], name: str = "manifest.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps({"format": "any", "trained_on": list(files)}))
    return folder


TRAIN = {"format": "knowedit", "file": "zsre_train.json", "sha256": "a" * 64}
CHAINS = {"format": "mquake", "file": "data/mquake_cf_3k_dev.json", "fingerprint": "c" * 64}


def test_a_task_is_in_the_domain_of_a_file_of_its_format_and_name(tmp_path: Path) -> None:
    part = read_trained(written(tmp_path / "serac", TRAIN, CHAINS))
    assert part.name == "serac"
    assert [(file.task, file.sha256[0]) for file in part.files] == [
        *(("zsre", "a"), ("mquake_cf_3k", "c"))
    ]
    measured = [
        DataFile("knowedit", "zsre_test.json", "b" * 64, "zsre"),
        DataFile("knowedit", "wiki_recent_test.json", "d" * 64, "wiki_recent"),
        DataFile("zsre", "mquake_cf_3k_test.json", "e" * 64, "mquake_cf_3k"),
        DataFile("mquake", "renamed.json", "c" * 64, "renamed"),
    ]
    assert part.domains(measured) == {
        "zsre": Domain.IN,
        "wiki_recent": Domain.CROSS,
        "mquake_cf_3k": Domain.CROSS,  # of another format
        "renamed": Domain.TRAINED,  # what a file is called does not hide what it is
    }
    record = part.record(measured)
    assert record["domains"]["zsre"] == "in-domain" and len(record["files"]) == 2
    assert json.loads(json.dumps(record)) == record


def test_a_task_of_several_files_is_the_nearest_of_them(tmp_path: Path) -> None:
    part = read_trained(written(tmp_path, TRAIN))
    other = DataFile("knowedit", "zsre_test.json", "b" * 64, "zsre")
    same = DataFile("knowedit", "zsre_train.json", "a" * 64, "zsre")
    far = DataFile("zsre", "zsre.json", "f" * 64, "zsre")
    assert part.domains([far, other]) == part.domains([other, far]) == {"zsre": Domain.IN}
    assert part.domains([other, same, far]) == {"zsre": Domain.TRAINED}


def test_any_manifest_that_says_so_will_do(tmp_path: Path) -> None:
    folder = written(tmp_path / "scope", TRAIN, name="serac.json")
    (folder / "about.json").write_text("[]")
    assert [file.file for file in read_trained(folder).files] == ["zsre_train.json"]


def test_what_does_not_say_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingResourceError, match="nowhere is no folder"):
        read_trained(tmp_path / "nowhere")
    folder = tmp_path / "part"
    for files in ([], [{"file": "zsre.json"}], [7]):
        written(folder, *files)
        with pytest.raises(InvalidInputError, match=r"expected manifest\.json with 'trained_on'"):
            read_trained(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(InvalidInputError, match="part says what it was trained on"):
        read_trained(folder)
