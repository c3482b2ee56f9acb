from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memedit.config import EncoderSettings
from memedit.errors import InvalidInputError, MissingResourceError
from memedit.scope.base import Encoder
from memedit.scope.encoder import default_cache_dir, open_encoder
from tests.scope.conftest import WIDTH, tiny_bert

TEXTS = [
    "What is the capital city of the country in which the river Danube has its source?",
    "hi",
    "",
    "   ",
    "a\x00b\x00",
    "[SEP] [CLS] [PAD] are ordinary words here",
    "naïve café, Ελλάδα, 東京の人口は, \N{GRINNING FACE}",
    "\ud800 lone surrogates \udfff",
    "word " * 700,
    "東" * 600,
    "x" * 3_000,
]


def opened(folder: Path, cache: Path, runtime: str = "auto") -> Encoder:
    return open_encoder(
        EncoderSettings.model_validate(
            {"model": str(folder), "cache_dir": cache, "runtime": runtime}
        )
    )


def test_every_vector_has_length_one_and_the_shape_is_right(encoder: Encoder) -> None:
    vectors = encoder.encode(TEXTS)

    assert vectors.shape == (len(TEXTS), encoder.dim) == (len(TEXTS), 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert encoder.encode([]).shape == (0, 384)


def test_agrees_with_sentence_transformers_on_torch(encoder: Encoder) -> None:
    pytest.importorskip("sentence_transformers")
    reference = open_encoder(EncoderSettings(runtime="torch"))

    difference = np.abs(encoder.encode(TEXTS) - reference.encode(TEXTS)).max()

    assert difference <= 1e-5
    assert reference.dim == encoder.dim
    assert reference.fingerprint != encoder.fingerprint
    assert reference.encode([]).shape == (0, 384)


@pytest.mark.parametrize(("pooling", "prefix"), [("mean", ""), ("cls", ""), ("mean", "bert.")])
def test_other_bert_models_agree_with_torch(tmp_path: Path, pooling: str, prefix: str) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    folder = tiny_bert(tmp_path / "model", pooling=pooling, prefix=prefix)
    mine = opened(folder, tmp_path, "onnx").encode(TEXTS)
    # The reference reads the plain names; the prefix is only ours to strip.
    plain = tiny_bert(tmp_path / "plain", pooling=pooling)

    model = sentence_transformers.SentenceTransformer(str(plain), device="cpu")
    texts = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in TEXTS]
    reference = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)

    assert np.abs(mine - reference).max() <= 1e-5
    assert np.abs(mine[0] - mine[1]).max() > 1e-2


def test_a_model_that_the_graph_cannot_express_runs_on_torch(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    folder = tiny_bert(tmp_path / "model", pooling="max")

    with pytest.raises(InvalidInputError, match=r"Pooling.*'auto' or 'torch'"):
        opened(folder, tmp_path, "onnx")
    chosen = opened(folder, tmp_path)

    assert chosen.fingerprint.endswith("/torch")
    np.testing.assert_allclose(np.linalg.norm(chosen.encode(TEXTS), axis=1), 1.0, atol=1e-5)


def test_a_text_is_encoded_alike_alone_and_in_a_batch(encoder: Encoder) -> None:
    together = encoder.encode(TEXTS)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])

    assert np.abs((together * alone).sum(axis=1) - 1).max() <= 1e-5
    np.testing.assert_array_equal(together, encoder.encode(TEXTS))
    np.testing.assert_allclose(encoder.encode(TEXTS[::-1])[::-1], together, atol=1e-5)


def test_what_lies_beyond_the_length_limit_has_no_say(encoder: Encoder) -> None:
    long = "one two three four five six seven " * 200

    vectors = encoder.encode([long, long + "something else entirely", "prefix " + long])

    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert np.abs(vectors[0] - vectors[2]).max() > 1e-4


def test_threads_share_one_encoder(encoder: Encoder) -> None:
    expected = encoder.encode(TEXTS)

    def work(shift: int) -> float:
        order = [(i + shift) % len(TEXTS) for i in range(len(TEXTS))]
        found = encoder.encode([TEXTS[i] for i in order])
        return float(np.abs(found - expected[order]).max())

    with ThreadPoolExecutor(8) as pool:
        assert max(pool.map(work, range(24))) <= 1e-5


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.text(st.characters(codec=None), max_size=80), max_size=6))
def test_any_text_at_all_becomes_a_unit_vector(encoder: Encoder, texts: Sequence[str]) -> None:
    vectors = encoder.encode(texts)

    assert vectors.shape == (len(texts), encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def test_the_default_imports_no_language_model_library() -> None:
    code = (
        "import sys; from memedit.config import EncoderSettings\n"
        "from memedit.scope.encoder import open_encoder\n"
        "open_encoder(EncoderSettings()).encode(['a text'])\n"
        "print([n for n in ('torch', 'transformers', 'sentence_transformers') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600
    )
    assert done.stdout.strip() == "[]"


def test_an_unknown_model_is_named_with_what_to_do() -> None:
    with pytest.raises(MissingResourceError) as caught:
        open_encoder(EncoderSettings(model="no-such-model-anywhere"))

    message = str(caught.value)
    assert "no-such-model-anywhere" in message
    assert "encoder.model" in message
    assert "never downloads" in message


def test_an_unknown_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingResourceError, match="no encoder folder"):
        open_encoder(EncoderSettings(model=str(tmp_path / "nowhere")))


def test_a_model_is_found_by_name_in_the_hub_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "hub" / "models--plain-org--tiny-encoder"
    tiny_bert(repository / "snapshots" / "abc123")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc123\n")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))

    found = open_encoder(EncoderSettings(model="plain-org/tiny-encoder", cache_dir=tmp_path))

    assert found.dim == WIDTH


@pytest.mark.parametrize("name", ["config.json", "modules.json"])
def test_an_incomplete_folder_is_named(bert_folder: Path, tmp_path: Path, name: str) -> None:
    (bert_folder / name).unlink()

    with pytest.raises(MissingResourceError, match=name):
        opened(bert_folder, tmp_path)


def test_broken_files_are_named(bert_folder: Path, tmp_path: Path) -> None:
    (bert_folder / "model.safetensors").write_bytes(b"not a model")
    with pytest.raises(MissingResourceError, match=r"model\.safetensors cannot be read"):
        opened(bert_folder, tmp_path)
    (bert_folder / "tokenizer.json").write_text("{")
    with pytest.raises(MissingResourceError, match=r"tokenizer\.json cannot be read"):
        opened(bert_folder, tmp_path)
    (bert_folder / "config.json").write_text("[]")
    with pytest.raises(MissingResourceError, match="must hold a JSON object"):
        opened(bert_folder, tmp_path)


def test_the_fingerprint_follows_weights_length_and_tokenizer(
    bert_folder: Path, tmp_path: Path
) -> None:
    first = opened(bert_folder, tmp_path).fingerprint
    assert opened(bert_folder, tmp_path).fingerprint == first

    limits = bert_folder / "sentence_bert_config.json"
    limits.write_text('{"max_seq_length": 16}')
    shorter = opened(bert_folder, tmp_path).fingerprint
    assert shorter != first
    assert "/16/" in shorter

    weights = bert_folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert opened(bert_folder, tmp_path).fingerprint not in (first, shorter)


def test_the_cache_follows_the_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "memedit" / "encoders"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_dir() == Path.home() / ".cache" / "memedit" / "encoders"
