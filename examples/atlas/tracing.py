"""Causal tracing: where in the network a fact about a subject is recalled."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from examples.atlas import formats as fm
from examples.atlas.answering import Answerer
from examples.atlas.corpus import Corpus
from examples.atlas.rome import editable, subject_end


def causal_trace(
    model: Answerer, corpus: Corpus, n: int, rng: random.Random, noise: float = 3.0
) -> Tensor:
    """Mean indirect effect [layers, 3] of restoring the MLP's output at the subject's first,
    last and the prompt's last token, after noise on the subject's embeddings.

    Source: Meng et al. 2022, section 2.
    """
    layers = model.model.model.layers
    effects = torch.zeros((len(layers), 3))
    embed = model.model.model.embed_tokens
    sigma = noise * embed.weight.std()
    count = 0
    generator = torch.Generator().manual_seed(0)
    for fact in rng.sample(editable(corpus), n):
        relation = corpus.world.relations[fact.relation]
        text = fm.BOS + corpus.prompt(relation, fact.subject, rng)
        end = subject_end(model, text, fact.subject)
        start = text.rfind(fact.subject)
        first = len(model.ids(text[:start].rstrip())) if start > len(fm.BOS) else 1
        ids = torch.tensor([model.ids(text)])
        answer = model.ids(f" {fact.answer}.")[0]
        spots = (first, end, ids.shape[1] - 1)
        clean: list[Tensor] = []
        shake = torch.randn((end - first + 1, embed.embedding_dim), generator=generator) * sigma

        def corrupt(module: Any, args: Any, output: Tensor) -> Tensor:
            output = output.clone()
            output[0, first : end + 1] += shake  # noqa: B023
            return output

        def probability() -> float:
            with torch.no_grad():
                logits = model.model(ids, use_cache=False).logits  # noqa: B023
            return float(torch.softmax(logits[0, -1], -1)[answer])  # noqa: B023

        handles = [
            layer.mlp.register_forward_hook(lambda m, a, o: clean.append(o.detach().clone()))  # noqa: B023
            for layer in layers
        ]
        before = probability()
        for handle in handles:
            handle.remove()
        noisy = embed.register_forward_hook(corrupt)
        low = probability()
        if before > 0.5:
            count += 1
            for i, layer in enumerate(layers):
                for j, spot in enumerate(spots):
                    handle = layer.mlp.register_forward_hook(_restore(clean[i], spot))
                    effects[i, j] += probability() - low
                    handle.remove()
        noisy.remove()
    return effects / max(1, count)


def _restore(clean: Tensor, spot: int) -> Callable[[Any, Any, Tensor], Tensor]:
    def hook(module: Any, args: Any, output: Tensor) -> Tensor:
        output = output.clone()
        output[0, spot] = clean[0, spot]
        return output

    return hook
