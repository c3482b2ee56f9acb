"""Atlas at work, for the evaluation: exact greedy answers, generation, decomposition loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from examples.atlas import formats as fm
from examples.atlas.chains import Chain
from examples.atlas.export import MODEL


@dataclass(frozen=True, slots=True)
class Probe:
    """A prompt (with its special tokens written out) and the exact answer expected."""

    prompt: str
    answer: str
    end: str


def probe(document: fm.Document) -> Probe:
    """The last answer of a document as a probe."""
    *before, (answer, _), (end, _) = document
    return Probe("".join(text for text, _ in before), answer, end)


class Answerer:
    """A model and its tokenizer, read from a folder."""

    def __init__(self, folder: Path = MODEL, dtype: torch.dtype = torch.float32):
        self.tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(folder)
        model: Any = LlamaForCausalLM.from_pretrained(folder, dtype=dtype)
        self.model = model.eval()

    def ids(self, text: str) -> list[int]:
        """Token ids of text whose special tokens are written out."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    @torch.no_grad()
    def exact(self, probes: Sequence[Probe], rows: int = 32) -> list[bool]:
        """Whether greedy generation gives exactly the answer and then ends.

        Greedy decoding yields a given string if and only if every token of it is the argmax
        after the ones before it, so one forward pass decides.
        """
        encoded = [(self.ids(p.prompt), self.ids(p.answer + p.end)) for p in probes]
        order = sorted(range(len(encoded)), key=lambda i: sum(map(len, encoded[i])))
        right = [False] * len(encoded)
        for start in range(0, len(order), rows):
            part = order[start : start + rows]
            length = max(len(encoded[i][0]) + len(encoded[i][1]) for i in part)
            tokens = torch.zeros((len(part), length), dtype=torch.long)
            for row, i in enumerate(part):
                whole = torch.tensor(encoded[i][0] + encoded[i][1])
                tokens[row, : len(whole)] = whole
            best = self.model(input_ids=tokens, use_cache=False).logits.argmax(-1)
            for row, i in enumerate(part):
                at, n = len(encoded[i][0]), len(encoded[i][1])
                want = torch.tensor(encoded[i][1])
                right[i] = bool((best[row, at - 1 : at + n - 1] == want).all())
        return right

    def _padded(self, texts: Sequence[str]) -> dict[str, Tensor]:
        ids = [self.ids(text) for text in texts]
        length = max(map(len, ids))
        pad = self.tokenizer.pad_token_id
        rows = [[pad] * (length - len(row)) + row for row in ids]
        mask = [[0] * (length - len(row)) + [1] * len(row) for row in ids]
        return {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(mask)}

    @torch.no_grad()
    def generate(
        self, texts: Sequence[str], new_tokens: int = 32, stop: str = "", **options: Any
    ) -> list[str]:
        """Greedy continuations, cut before `stop` where it occurs, special tokens left out."""
        out: list[str] = []
        for start in range(0, len(texts), 25):
            batch = self._padded(texts[start : start + 25])
            if stop:
                options |= {"stop_strings": [stop], "tokenizer": self.tokenizer}
            ids = self.model.generate(
                **batch, max_new_tokens=new_tokens, do_sample=False, **options
            )
            new = ids[:, batch["input_ids"].shape[1] :]
            said = self.tokenizer.batch_decode(new, skip_special_tokens=True)
            out += [text.split(stop)[0] if stop else text for text in said]
        return out


Retriever = Callable[[int, str], str]
"""(index of the hop, subquestion) -> the statement that retrieval finds."""


def _after(text: str, mark: str) -> str:
    """The rest of the last line of `text` that starts with `mark`."""
    lines = [line for line in text.split("\n") if line.startswith(mark)]
    return lines[-1][len(mark) :].strip() if lines else ""


def run_mello(
    model: Answerer, chains: Sequence[Chain], facts: Sequence[Sequence[str]]
) -> list[str]:
    """Final answers of MeLLo's loop; `facts[i][h]` is what retrieval finds at hop h of chain i.

    All chains advance together, one generation per round.
    """
    texts = [fm.BOS + fm.MELLO_QUESTION.format(question=c.question) for c in chains]
    finals = [""] * len(chains)
    for hop in range(max(len(c.hops) for c in chains) + 1):
        alive = [i for i, final in enumerate(finals) if not final]
        if not alive:
            break
        said = model.generate([texts[i] for i in alive], 90, "Retrieved fact:")
        for i, new in zip(alive, said, strict=True):
            final = _after(new, "Final answer:")
            if final or hop >= len(chains[i].hops):
                finals[i] = final or "(none)"
            else:
                texts[i] += new + f"Retrieved fact: {facts[i][hop]}"
    return [final.removesuffix(".") for final in finals]


def run_pokemqa(
    model: Answerer, chains: Sequence[Chain], facts: Sequence[Sequence[str]]
) -> list[str]:
    """Final answers of PokeMQA's loop; an empty `facts[i][h]` lets the model answer itself."""
    texts = [
        fm.BOS
        + fm.MELLO_QUESTION.format(question=c.question)
        + "\n"
        + fm.POKEMQA_ENTITY.format(entity=c.hops[0].subject)
        for c in chains
    ]
    finals = [""] * len(chains)
    for hop in range(max(len(c.hops) for c in chains) + 1):
        alive = [i for i, final in enumerate(finals) if not final]
        if not alive:
            break
        said = model.generate([texts[i] for i in alive], 70, "Generated answer:")
        asking = []
        for i, new in zip(alive, said, strict=True):
            final = _after(new, "Final answer:")
            if final or hop >= len(chains[i].hops):
                finals[i] = final or "(none)"
                continue
            texts[i] += new + "Generated answer:"
            if facts[i][hop]:
                texts[i] += f" {facts[i][hop]}"
            else:
                asking.append(i)
        if asking:
            own = model.generate([texts[i] for i in asking], 40, "\n")
            for i, new in zip(asking, own, strict=True):
                texts[i] += new
    return [final.removesuffix(".") for final in finals]
