from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from memedit.errors import DatasetError, MissingResourceError
from memedit.evaluation.report import write_report
from memedit.evaluation.report.labels import NOTABLE
from tests.evaluation.report.run_folder import EVIL, METHODS, run_folder

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}


class Page(HTMLParser):
    """Checks that tags close in order; gathers what the tests ask after."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("report")
    now = run_folder(base / "now")
    earlier = run_folder(
        base / "earlier", seed=3, analysis=False, model={"name": "atlas", "fingerprint": "b" * 64}
    )
    return write_report(now, base / "out", compare=earlier)


@pytest.fixture(scope="module")
def html(written: Path) -> str:
    return written.read_text("utf-8")


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_three_files_are_written(written: Path) -> None:
    assert written.name == "report.html"
    assert {file.name for file in written.parent.iterdir()} == {
        "report.html",
        "report.md",
        "rows.json",
    }
    rows = json.loads((written.parent / "rows.json").read_text("utf-8"))
    run = json.loads((written.parents[1] / "now" / "rows.json").read_text("utf-8"))
    assert rows == run


def test_what_a_model_said_never_becomes_markup(html: str, page: Page, written: Path) -> None:
    assert "alert(" in page.words, "the example is shown"
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert "<script" not in html.lower()
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert "<script" not in (written.parent / "report.md").read_text("utf-8").lower()


def test_nothing_is_fetched(html: str, page: Page) -> None:
    for tag, attrs in page.tags:
        for name in ("src", "href", "xlink:href", "action", "data", "srcset"):
            value = attrs.get(name) or ""
            assert value.startswith(("#", "data:image/")) or not value, (tag, name, value[:80])
        assert tag not in {"link", "iframe", "object", "embed", "base"}
    assert not re.findall(r"url\((?!#)", html)
    assert "@import" not in html
    assert "http://" not in html and "https://" not in html
    [policy] = [a["content"] for t, a in page.tags if a.get("http-equiv")]
    assert policy is not None and policy.startswith("default-src 'none'")


def test_identifiers_are_used_once_and_references_are_met(html: str, page: Page) -> None:
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    named = set(re.findall(r'href="#([^"]+)"', html)) | set(re.findall(r"url\(#([^)]+)\)", html))
    assert named <= set(ids)


def test_every_section_and_plot_is_there(page: Page) -> None:
    sections = [attrs.get("id") for tag, attrs in page.tags if tag == "section"]
    assert sections == [
        "summary",
        "plots",
        "scores-generated",
        "scores-teacher_forced",
        "cost",
        "sequence",
        "errors",
        "analysis",
        "comparison",
        "faults",
    ]
    labels = [attrs.get("aria-label") for tag, attrs in page.tags if tag == "svg"]
    assert len(labels) == 17 and all(labels)
    for words in ("Time per edit", "Edit success", "restored: mlp", "Hit@10"):
        assert words in page.words
    assert [attrs for tag, attrs in page.tags if tag == "text"], "text of plots stays text"


def test_the_summary_says_what_was_measured_and_how_to_repeat_it(page: Page) -> None:
    for words in (
        "atlasedit (dddddddddddd)",
        "26 records, 24 cases",
        "atlas (aaaaaaaaaaaa)",
        "2026-11-25 01:00 UTC, took 7.5 min",
        "memedit eval --dataset atlasedit --method none,ice,ft-m,rome --model DIR",
    ):
        assert words in page.words
    assert all(method in page.words for method in METHODS)


def test_the_markdown_has_what_the_page_has(written: Path) -> None:
    text = (written.parent / "report.md").read_text("utf-8")
    section = text.split("## What went wrong")[1].split("\n## ")[0]
    assert "### zsre: what went wrong" in section
    assert "### wiki\\_recent: what went wrong" in section
    examples: dict[tuple[str, ...], set[str]] = {}
    table = section.split("### Examples of each class")[1]
    lines = [line.split(" | ") for line in table.splitlines() if line.startswith("|")][2:]
    for line in lines:
        examples.setdefault(tuple(line[:4]), set()).add(line[-1])
    assert max(map(len, examples.values())) == 3 and len(lines) > 2 * len(examples)
    assert sum(map(len, examples.values())) == len(lines), "each of another case"
    for words in ("**Memory added**: the most", "**Time per edit**: of computing", "2.29 s"):
        assert words in text


def test_costs_without_an_interval_show_none(page: Page, written: Path) -> None:
    text = (written.parent / "report.md").read_text("utf-8")
    for shown in (page.words, text):
        assert "1,200 MB" in shown and "None" not in shown.replace("None were", "")
    comparison = text.split("## Compared")[1]
    assert "have no interval" in comparison
    assert "| single | cost | Memory added | rome | 1,200 MB | 1,200 MB |" in comparison


def test_faults_and_what_was_not_scored_are_counted(page: Page) -> None:
    assert "has no target no 7 wiki_recent_test[0]" in page.words
    assert "asks the edited relation" in page.words and " yes 1 zsre_test[7]" in page.words
    assert "locality, teacher-forced no answer given 4" in page.words
    assert "1 line of scored.jsonl could not be read" in page.words


def test_another_model_is_said_loudly(page: Page, written: Path) -> None:
    assert page.words.count("The models differ") == 2, "on top and beside the comparison"
    assert "**The models differ" in (written.parent / "report.md").read_text("utf-8")


def test_what_was_not_measured_is_said(page: Page, written: Path) -> None:
    text = (written.parent / "report.md").read_text("utf-8")
    for shown in (page.words, text):
        assert "What is not in these numbers:" in shown
        assert "Not measured: convsent, multihop. The 24 cases that --limit leaves" in shown


def test_the_earlier_run_and_what_is_notable_stand_first_in_the_markdown(written: Path) -> None:
    text = (written.parent / "report.md").read_text("utf-8").split("## Compared")[1]
    assert re.search(r"^Earlier: `[^`\n]+earlier`$", text, re.MULTILINE)
    shown, *folded = text.split("<details>")
    rows = [line for line in shown.splitlines() if line.startswith("|")][2:]
    assert 0 < len(rows) <= NOTABLE and all("(\\*)" in row for row in rows)
    assert any("rows within chance</summary>" in part for part in folded)
    assert text.count("<details>") == text.count("</details>")


def test_a_proxy_is_shown_whole_and_one_command_repeats_the_run(tmp_path: Path) -> None:
    about = {"name": "atlas behind 127.0.0.1:18735"}
    about["fingerprint"] = "http://127.0.0.1:18735 atlas auto"
    commands = ["memedit eval --method none", "memedit eval --method ice"]
    run = run_folder(tmp_path / "run", analysis=False, model=about, commands=commands)
    page = Page(write_report(run, tmp_path / "out").read_text("utf-8"))
    text = (tmp_path / "out" / "report.md").read_text("utf-8")
    for shown in (page.words, text):
        assert "(http://127.0.0.1:18735 atlas auto)" in shown
        assert "memedit eval --method none,ice,ft-m,rome" in shown
        assert "memedit eval --method ice" not in shown
        assert "To repeat it (name another --report folder" in shown


def test_a_bare_run_is_enough(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "manifest.json").write_text("{}")
    row = {
        **{"method": "ice", "task": "zsre", "setting": "single", "metric": "edit_success"},
        **{"kind": "", "scoring": "generated", "value": 0.5, "low": 0.4, "high": 0.6, "n": 10},
    }
    (run / "rows.json").write_text(json.dumps([row]))
    page = Page(write_report(run, run).read_text("utf-8"))
    assert "not recorded" in page.words
    assert "0.500" in page.words
    assert "None were recorded" in page.words


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingResourceError, match="no folder"):
        write_report(tmp_path / "nothing", tmp_path)
    with pytest.raises(MissingResourceError, match=r"manifest\.json is missing"):
        write_report(tmp_path, tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(DatasetError, match="holds a list, expected a dict"):
        write_report(tmp_path, tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "rows.json").write_text('[{"method": "ice"}]')
    with pytest.raises(DatasetError, match="no Row in"):
        write_report(tmp_path, tmp_path)


def test_a_browser_shows_it(written: Path, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no chromium here")
    ran = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *(f"--user-data-dir={tmp_path}", written.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.count("<svg") == 17
    assert EVIL.split("(")[0] not in ran.stdout
