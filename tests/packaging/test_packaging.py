"""What is built and installed: one top-level name, every room in it, the same from each source."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MAPPED = {"memedit.adapters": "adapters", "memedit.indexes": "indexes"}
"""Rooms that stand beside the package and are reached through a symbolic link inside it."""


def _pyproject() -> dict[str, Any]:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


def _folder(package: str) -> Path:
    for mapped, folder in MAPPED.items():
        if package == mapped or package.startswith(f"{mapped}."):
            rest = package.removeprefix(mapped).strip(".")
            return REPOSITORY / folder / rest.replace(".", "/")
    return REPOSITORY / package.replace(".", "/")


def _packages_on_disk() -> set[str]:
    found = {
        ".".join(folder.parent.relative_to(REPOSITORY).parts)
        for folder in (REPOSITORY / "memedit").rglob("__init__.py")
    }
    for mapped, folder in MAPPED.items():
        root = REPOSITORY / folder
        found |= {
            ".".join((mapped, *init.parent.relative_to(root).parts))
            for init in root.rglob("__init__.py")
        }
    return found


def test_the_packages_listed_are_the_packages_on_disk() -> None:
    listed = _pyproject()["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(_packages_on_disk())


def test_no_room_is_a_folder_without_an_init() -> None:
    """A namespace package works from the checkout and is missing from the wheel."""
    roots = [REPOSITORY / "memedit", *(REPOSITORY / folder for folder in MAPPED.values())]
    bare = {
        str(module.parent.relative_to(REPOSITORY))
        for root in roots
        for module in root.rglob("*.py")
        if not (module.parent / "__init__.py").exists()
    }
    assert not bare


@pytest.mark.parametrize(("package", "folder"), sorted(MAPPED.items()))
def test_the_links_are_links_in_git_too(package: str, folder: str) -> None:
    link = REPOSITORY / package.replace(".", "/")
    assert link.is_symlink()
    assert link.readlink() == Path("..") / folder
    if not (REPOSITORY / ".git").exists():
        pytest.skip("not a git checkout")
    name = link.relative_to(REPOSITORY)
    staged = subprocess.run(
        ["git", "ls-files", "-s", str(name)], cwd=REPOSITORY, capture_output=True, check=True
    )
    assert staged.stdout.decode().startswith("120000 ")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Build the sdist, a wheel from it, and a wheel from the checkout.

    From a copy of what git would have, so that nothing left over in the checkout gets in.
    """
    if not (REPOSITORY / ".git").exists():
        pytest.skip("not a git checkout: which files belong to it cannot be told")
    root = tmp_path_factory.mktemp("built")
    checkout = root / "checkout"
    _copy_of_the_checkout(checkout)
    _build("--sdist", checkout, root / "sdist")
    [sdist] = (root / "sdist").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(root / "unpacked", filter="data")
    [unpacked] = (root / "unpacked").iterdir()
    _build("--wheel", unpacked, root / "from-sdist")
    _build("--wheel", checkout, root / "from-checkout")
    [from_sdist] = (root / "from-sdist").glob("*.whl")
    [from_checkout] = (root / "from-checkout").glob("*.whl")
    return {"sdist": sdist, "from_sdist": from_sdist, "wheel": from_checkout}


def _copy_of_the_checkout(to: Path) -> None:
    """Copy tracked files, and those that would be if they were added; links stay links."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        source, target = REPOSITORY / name, to / name
        if name.startswith(("examples/", "tests/")) or not (source.exists() or source.is_symlink()):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(source.readlink())
        else:
            target.write_bytes(source.read_bytes())


def _build(kind: str, source: Path, to: Path) -> None:
    command = [sys.executable, "-m", "build", kind, "--outdir", str(to), str(source)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=600)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()[-4_000:]


def _contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_only_top_level_name_is_memedit(built: dict[str, Path]) -> None:
    names = {name.split("/")[0] for name in _contents(built["wheel"])}
    assert {name for name in names if not name.endswith(".dist-info")} == {"memedit"}


def test_every_module_and_every_data_file_is_in_the_wheel(built: dict[str, Path]) -> None:
    inside = set(_contents(built["wheel"]))
    expected = set()
    for package in _packages_on_disk():
        folder = _folder(package)
        data = [path for path in folder.iterdir() if path.is_dir() and not any(path.glob("*.py"))]
        for path in (*folder.iterdir(), *(file for one in data for file in one.iterdir())):
            if path.is_file() and path.suffix not in {".pyc", ".pyo", ".md"}:
                expected.add(f"{package.replace('.', '/')}/{path.relative_to(folder)}")
    assert "memedit/py.typed" in expected
    assert not expected - inside
    ours = {name for name in inside if not name.split("/")[0].endswith(".dist-info")}
    assert not ours - expected


def test_the_sdist_builds_the_same_wheel(built: dict[str, Path]) -> None:
    ours, theirs = _contents(built["wheel"]), _contents(built["from_sdist"])
    assert sorted(ours) == sorted(theirs)
    # RECORD and METADATA too: nothing depends on where the wheel was built.
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_the_sdist_has_no_environments_and_no_leftovers(built: dict[str, Path]) -> None:
    with tarfile.open(built["sdist"]) as archive:
        names = archive.getnames()
    odd = (".venv", "__pycache__", ".git/", "runs/", ".db")
    assert not [name for name in names if any(part in name for part in odd)]
    assert any(name.endswith("/adapters/__init__.py") for name in names)


def test_the_installed_wheel_works_from_anywhere(built: dict[str, Path], tmp_path: Path) -> None:
    """Installed alone into a folder, with nothing of the checkout on the path."""
    site = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-compile"]
    command += ["--disable-pip-version-check", "--target", str(site), str(built["wheel"])]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    program = """
import sys, pathlib
sys.path[:] = [sys.argv[1]] + [p for p in sys.path if "site-packages" in p or "lib/python" in p]
sys.meta_path = [f for f in sys.meta_path if "editable" not in getattr(f, "__module__", "").lower()
                 and "editable" not in repr(f).lower()]
import memedit, memedit.adapters, memedit.indexes
from memedit.cli.app import app
from memedit.indexes.catalog import open_index
from memedit.scope.calibration import shipped_calibration
site = pathlib.Path(sys.argv[1])
for module in (memedit, memedit.adapters, memedit.indexes):
    assert pathlib.Path(module.__file__).is_relative_to(site), module.__file__
shipped_calibration()
print(memedit.__version__, type(open_index("flat", 4)).__name__)
"""
    # -P: the folder that the program runs in is not on its path.
    command = [sys.executable, "-P", "-c", program, str(site)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr.decode()[-4_000:]
    assert done.stdout.decode().split()[0].count(".") >= 1


@pytest.mark.parametrize(("package", "folder"), sorted(MAPPED.items()))
def test_a_mapped_room_refuses_its_bare_name(package: str, folder: str) -> None:
    """``import adapters`` from the checkout would make a second copy of every class in it."""
    command = [sys.executable, "-c", f"import {folder}"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=False, timeout=600)
    assert done.returncode != 0
    assert f"import '{package}' instead" in done.stderr.decode()


def test_metadata_names_the_command_and_the_extras(built: dict[str, Path]) -> None:
    contents = _contents(built["wheel"])
    [entry] = [text for name, text in contents.items() if name.endswith("entry_points.txt")]
    assert b"memedit = memedit.cli:main" in entry
    [metadata] = [text for name, text in contents.items() if name.endswith("/METADATA")]
    for extra in ("models", "postgres", "vllm", "dev"):
        assert f"Provides-Extra: {extra}".encode() in metadata
    light = [
        line
        for line in metadata.decode().splitlines()
        if line.startswith("Requires-Dist:") and "extra ==" not in line
    ]
    assert not [line for line in light if "torch" in line or "transformers" in line]
