"""What the report says of an analysis is true of what was measured."""

from __future__ import annotations

from pathlib import Path

from memedit.evaluation.analysis.record import Analysis, Located, Similar
from memedit.evaluation.report.findings import Part, parts

TITLE = "Where facts are decided"


def traced(clean: float, corrupted: float, role: str = "edit") -> Located:
    back = tuple(corrupted + (clean - corrupted) * share for share in (0.25, 0.5, 0.0))
    return Located("a", role, "p", "s", "r", "a", clean, corrupted, {"mlp": back})


def shown(folder: Path, *located: Located) -> Part:
    Analysis(located=located).save(folder)
    [part] = parts(folder)
    assert part.title == TITLE
    return part


def test_traces_that_show_nothing_are_counted_and_left_out(tmp_path: Path) -> None:
    part = shown(
        tmp_path,
        *(traced(0.9, 0.1), traced(0.8, 0.6)),
        *(traced(1.0, 0.95), traced(0.95, 1.0)),
        traced(0.9, 0.1, "rephrase"),
    )
    says = " ".join(part.says)
    assert "Causal tracing of 5 prompts" in says
    assert "In 2 of them the noise takes less than 0.1" in says
    assert "(2)" in says and "0.850" in says and "0.350" in says
    [table] = part.tables
    line = dict(zip(table.head, table.lines[0], strict=True))
    assert (line["Facts"], line["Clean"], line["Corrupted"]) == ("2", "0.850", "0.350")
    assert (line["Strongest layer"], line["Effect there"]) == ("1", "0.250")
    assert part.plots[0][0] is not None


def test_where_noise_takes_nothing_away_nothing_is_shown(tmp_path: Path) -> None:
    part = shown(tmp_path, traced(1.0, 1.0), traced(0.9, 0.85))
    assert "In 2 of them" in part.says[-1]
    assert not part.tables and not part.plots


def test_without_edits_that_tell_probes_are_shown_and_called_so(tmp_path: Path) -> None:
    part = shown(tmp_path, traced(1.0, 1.0), traced(0.9, 0.1, "rephrase"))
    assert "probes' prompts" in part.says[-1] and part.tables[0].lines[0][1] == "1"


def test_of_too_few_pairs_no_similarity_is_told(tmp_path: Path) -> None:
    similar = tuple(Similar("g", "layers (mlp)", 2, 1.0, 0.5, pairs, 120) for pairs in (1, 2, 3))
    Analysis(similar=similar).save(tmp_path)
    [part] = parts(tmp_path)
    [table] = part.tables
    lines = [dict(zip(table.head, line, strict=True)) for line in table.lines]
    assert [line["RSim"] for line in lines] == [
        *("too few pairs (1 of 120)", "too few pairs (2 of 120)", "1.000")
    ]
    assert [line["Similarity"] for line in lines] == [*"\N{EN DASH}\N{EN DASH}", "1.000"]
