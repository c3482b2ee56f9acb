from __future__ import annotations

import xml.etree.ElementTree as ET

from memedit.evaluation.report.svg import INK, dressed, figure, inline


def drawn(title: str, name: str = "one") -> str:
    made = figure(3, 2)
    axes = dressed(made.add_subplot(), title, grid="both")
    axes.imshow([[0.0, 1.0]])
    axes.plot([0, 1], [0, 1], marker="o")
    return inline(made, name, 'what "it" <shows> & why')


def test_it_is_one_element_that_refers_to_nothing_outside() -> None:
    text = drawn("a title")
    root = ET.fromstring(text)
    assert root.tag == "svg"
    assert root.get("aria-label") == 'what "it" <shows> & why'
    assert "http" not in text and "xmlns" not in text
    assert [t.text for t in root.iter("text") if t.text == "a title"], "text stays text"


def test_lines_take_the_colour_of_the_page() -> None:
    text = drawn("a title")
    assert INK not in text and "currentColor" in text


def test_text_is_neither_markup_nor_a_formula() -> None:
    text = drawn("<b>$\\frac{1}{$ & \x07 日本")
    ET.fromstring(text)
    assert "<b>" not in text
    assert "&lt;b&gt;$\\frac{1}{$ &amp;" in text


def test_plots_of_one_page_share_no_identifier() -> None:
    first, second = (ET.fromstring(drawn("t", name)) for name in ("one", "two"))
    ids = [{e.get("id") for e in root.iter() if e.get("id")} for root in (first, second)]
    assert ids[0] and not ids[0] & ids[1]
    for root, own in zip((first, second), ids, strict=True):
        named = {e.get("href", "")[1:] for e in root.iter("use")}
        assert named <= own


def test_the_same_plot_is_the_same_text() -> None:
    assert drawn("t") == drawn("t")
