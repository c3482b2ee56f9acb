"""The plots of an analysis say what is drawn, and draw nothing surer than it is."""

from __future__ import annotations

from typing import Any

from memedit.evaluation.analysis.plots import heatmaps, similarities, traces
from memedit.evaluation.analysis.record import Changed, Located, Similar


def similar(group: str, pairs: int, k: int) -> Similar:
    return Similar(group, "layers (mlp)", k, 0.6, 0.5, pairs, 100)


def test_rsim_of_few_pairs_is_no_line_and_of_fewer_is_not_drawn() -> None:
    found = [
        similar(group, pairs, k)
        for group, pairs in (("related", 12), ("same subject", 4), ("same relation", 2))
        for k in (1, 2)
    ]
    figure: Any = similarities(found)
    lines = [(line.get_linewidth(), line.get_markerfacecolor()) for line in figure.axes[0].lines]
    assert [width > 0 for width, _ in lines] == [True, False] and lines[1][1] == "none"
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["related (12 pairs)", "same subject (4 pairs)"]
    assert similarities([similar("same relation", 2, 1)]) is None


def test_the_heat_map_has_its_scale_and_names_its_axes() -> None:
    one = Changed(
        *("rome", "a", "layers.3.down_proj.weight", 4, 6, 1.0, 0.1, 0.0, 0.0, 0.5, 2),
        ((0.1, 0.2), (0.3, 0.4)),
    )
    figure: Any = heatmaps([one])
    picture, scale = figure.axes
    assert "column" in picture.get_xlabel() and picture.get_ylabel() == "row"
    assert scale.get_ylabel() == "largest |ΔW| of the block"


def test_the_levels_of_a_trace_are_named_beside_the_plot() -> None:
    back = {"mlp": (0.0, 0.5)}
    figure: Any = traces([Located("a", "edit", "p", "s", "r", "x", 0.9, 0.01, back)])
    assert not figure.axes[0].texts, "a word at a level near nought covers the ticks"
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [name.partition(":")[0] for name in names] == ["clean", "corrupted"]
