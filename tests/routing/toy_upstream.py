"""The tokenizer endpoints of an upstream, over a real byte-level BPE trained on a few lines."""

from __future__ import annotations

import json

from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from tokenizers.decoders import ByteLevel

from memedit.routing import NeedUpstream, UpstreamReply

BOS = "<|begin_of_text|>"
_LINES = [
    "The capital of France is Paris.",
    "Imagine that the capital of France is Norwick.\nThe capital of France is",
    "Q: What is the capital of Italy?\nA: Rome\n\nQ: What is the capital of France?\nA:",
]


class ToyUpstream:
    """Answers /tokenize and /detokenize as vLLM does; counts the calls."""

    def __init__(self, *, bos: bool = True) -> None:
        self.tokenizer = Tokenizer(models.BPE())
        self.tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self.tokenizer.decoder = ByteLevel()
        self.tokenizer.train_from_iterator(
            _LINES,
            trainers.BpeTrainer(
                vocab_size=400,
                special_tokens=[BOS],
                initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                show_progress=False,
            ),
        )
        if bos:
            self.tokenizer.post_processor = processors.TemplateProcessing(
                single=f"{BOS} $A", special_tokens=[(BOS, self.tokenizer.token_to_id(BOS))]
            )
        self.calls: list[NeedUpstream] = []

    def ids(self, text: str, *, special: bool = True) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=special).ids

    def text(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    def __call__(self, need: NeedUpstream) -> UpstreamReply:
        self.calls.append(need)
        body = json.loads(need.body)
        if need.path == "/detokenize":
            answer = {"prompt": self.text(body["tokens"])}
        else:
            ids = self.ids(body["prompt"], special=body["add_special_tokens"])
            answer = {"tokens": ids, "count": len(ids), "max_model_len": 2048}
        return UpstreamReply(200, json.dumps(answer).encode())


def no_upstream(need: NeedUpstream) -> UpstreamReply:
    """An upstream without those endpoints."""
    return UpstreamReply(404, b'{"detail":"Not Found"}')
