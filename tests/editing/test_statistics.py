"""Second moments: a pass that was cut off goes on, and comes out as one that was not."""

from __future__ import annotations

from pathlib import Path

import pytest

from memedit.editing.statistics import SAVE_EVERY, Statistics
from memedit.errors import InvalidInputError
from memedit.modeling.moments import SecondMoment
from memedit.modeling.sampling import BLOCK, SampledTexts, sample_texts
from tests.modeling.families import tiny_model, tiny_tokenizer


def kept(folder: Path) -> SecondMoment:
    [file] = folder.rglob("layer-1.safetensors")
    return SecondMoment.load(file)


@pytest.mark.parametrize("sampled", [True, False], ids=["sampled", "corpus"])
def test_a_pass_that_was_cut_off_goes_on(tmp_path: Path, sampled: bool) -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    corpus = None
    if not sampled:
        corpus = tmp_path / "corpus.txt"
        corpus.write_text("\n\n".join(f"Paris {n}" for n in range(2 * SAVE_EVERY)))
    cut, whole = (
        Statistics(corpus, texts=2 * SAVE_EVERY, tokens=2, cache=tmp_path / name)
        for name in ("cut", "whole")
    )
    seen: list[int] = []

    def stop(done: int, total: int) -> None:
        if done > SAVE_EVERY:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut.collect(model, tokenizer, [1], stop)
    assert cut.collect(model, tokenizer, [1], lambda done, total: seen.append(done)) == []
    assert SAVE_EVERY < seen[0] < 2 * SAVE_EVERY == seen[-1]
    assert whole.collect(model, tokenizer, [1]) == []
    one, other = kept(tmp_path / "cut"), kept(tmp_path / "whole")
    assert (one.tokens, one.texts) == (other.tokens, other.texts)
    assert float((one.total - other.total).norm() / other.total.norm()) < 1e-6


def test_shares_of_sampled_texts_are_the_texts_of_one_process() -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    count = 2 * BLOCK + 3
    whole = SampledTexts(model, tokenizer, count, 2)
    first, second = (SampledTexts(model, tokenizer, count, 2, share=n, shares=2) for n in (1, 2))
    texts = list(whole)
    assert len(whole) == len(texts) == count and len(first) + len(second) == count
    assert list(first) == texts[:BLOCK] + texts[2 * BLOCK :]
    assert second[:] == texts[BLOCK : 2 * BLOCK] and second[-2:] == texts[2 * BLOCK - 2 : 2 * BLOCK]
    assert texts[:BLOCK] == sample_texts(model, tokenizer, [""] * BLOCK, 2)
    assert len(set(texts)) > count // 2
    with pytest.raises(InvalidInputError, match="at most 3 shares"):
        SampledTexts(model, tokenizer, count, 2, share=1, shares=4)
    with pytest.raises(InvalidInputError, match="expected 1 to 2"):
        Statistics(texts=4).collect(model, tokenizer, [1], share=3, shares=2)
