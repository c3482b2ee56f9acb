"""A tiny random Llama on disk, in memory, and behind a real server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import torch
import uvicorn
from starlette.applications import Starlette
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from memedit.engine.app import create_engine_app
from memedit.engine.loading import LoadedModel, load_model

LINES = [
    "The lighthouse of Orvel stands on a cliff above the grey sea.",
    "Where does the river Tamsin begin? It begins in the hills of Brand.",
    "Zürich, Łódź, Kraków and Ærø are places; so is 東京, and so is Αθήνα.",
    "A café, a naïve façade, ten euros € and a snowman ☃ with a 🙂 face.",
]
TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "<|{{ message['role'] }}|>{{ message['content'] }}<|end|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<s>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
NAME = "tiny"


def make_tokenizer() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(LINES, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="<|end|>",
        additional_special_tokens=SPECIAL[2:],
        chat_template=TEMPLATE,
    )


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder: 2 layers, random weights of a size that makes its choices clear."""
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = make_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(11)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def loaded(checkpoint: Path) -> LoadedModel:
    return load_model(checkpoint, name=NAME, device="cpu")


@contextmanager
def served(app: Starlette) -> Iterator[str]:
    """Run ``app`` behind uvicorn on a free port; yields its URL."""
    config = uvicorn.Config(app, port=0, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 120
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(timeout=120)


@pytest.fixture(scope="session")
def base_url(loaded: LoadedModel) -> Iterator[str]:
    with served(create_engine_app(loaded)) as url:
        yield url


@pytest.fixture(scope="session")
def http(base_url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=base_url, timeout=120) as client:
        yield client


@pytest.fixture(scope="session")
def client(base_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{base_url}/v1", api_key="none", max_retries=0) as client:
        yield client


def greedy(loaded: LoadedModel, prompt: list[int], tokens: int, **more: Any) -> list[int]:
    """What transformers' own generate continues ``prompt`` with."""
    ids = torch.tensor([prompt])
    result = loaded.model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=tokens,
        do_sample=False,
        pad_token_id=1,
        **more,
    )
    return result[0, len(prompt) :].tolist()


PROMPTS = [
    "The lighthouse of",
    "Where does the river Tamsin begin?",
    "Zürich",
    "A café, a naïve façade, ten euros € and a snowman ☃ with",
    "x",
    "東京 and Αθήνα are places, and so",
    "The grey sea above the hills of Brand begins in the river; it",
    "It",
]
