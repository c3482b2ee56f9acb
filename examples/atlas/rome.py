"""Plain ROME on Atlas, to measure how editable the model is (Meng et al. 2022).

Kept simple on purpose: one edit at a time, one layer, a generous limit on the norm. The layer
and the settings are chosen on the train split of AtlasEdit; memedit's own ROME lives in
memedit.editing.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from examples.atlas import formats as fm
from examples.atlas.answering import Answerer, Probe, probe
from examples.atlas.corpus import Asked, Corpus
from examples.atlas.world import Fact


@dataclass(frozen=True, slots=True)
class Settings:
    """The layer, and how the value is found: `clamp` times the old value's norm at most.

    Tried on a dozen edits of the train split, of which `evaluate` asks about one, too. Layer 3 is
    the last one below which a mention is seen by itself alone (`Shape.recall`), and the one whose
    states training interchanges (`Corpus.interchanged`). The rate is the paper's: the hidden
    states' norms are about 100, and 1.0 finds the same.
    """

    layer: int = 3
    steps: int = 60
    rate: float = 0.5
    clamp: float = 60.0
    decay: float = 1e-3
    kl: float = 0.0625
    prefixes: int = 6


def subject_end(model: Answerer, prompt: str, subject: str) -> int:
    """Index of the token that holds the last character of the subject's last occurrence.

    A subject that begins a sentence may have a capital there.

    Raises:
        ValueError: when the prompt does not hold the subject.
    """
    at = max(prompt.rfind(subject), prompt.rfind(fm.upper_first(subject)))
    if at < 0:
        raise ValueError(f"the prompt {prompt!r} does not hold the subject {subject!r}")
    end = at + len(subject) - 1
    encoded = model.tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True)
    for i, (start, stop) in enumerate(encoded["offset_mapping"]):
        if start <= end < stop:
            return i
    raise ValueError(f"no token of {prompt!r} covers character {end}")


def second_moment(model: Answerer, corpus: Corpus, layer: int, documents: int = 500) -> Tensor:
    """C = E[k k^T] of the down projection's input over training documents, float32."""
    rng = random.Random("second moment")
    texts = ["".join(t for t, _ in corpus.recall(rng)) for _ in range(documents)]
    texts += ["".join(t for t, _ in corpus.biography(rng)) for _ in range(documents // 5)]
    keys: list[Tensor] = []
    down = model.model.model.layers[layer].mlp.down_proj

    def hook(module: Any, args: tuple[Tensor, ...]) -> None:
        keys.append(args[0].detach())

    total = torch.zeros((down.in_features, down.in_features))
    count = 0
    handle = down.register_forward_pre_hook(hook)
    try:
        with torch.no_grad():
            for text in texts:
                keys.clear()
                model.model(torch.tensor([model.ids(text)]), use_cache=False)
                k = keys[0][0, 1:]
                total += k.T @ k
                count += len(k)
    finally:
        handle.remove()
    return total / count


def edit(
    model: Answerer,
    prompts: list[str],
    essence: str,
    subject: str,
    target: str,
    moment: Tensor,
    settings: Settings,
) -> Tensor:
    """The rank-one change of the layer's down projection, [width, hidden]; nothing is changed.

    `prompts[0]` is the edit's own prompt, the others put texts before it; `target` starts with
    a space; `essence` holds the subject for the KL term.
    """
    down = model.model.model.layers[settings.layer].mlp.down_proj
    texts = [*(p + target for p in prompts), essence]
    rows = [model.ids(text) for text in texts]
    ends = [subject_end(model, text, subject) for text in [*prompts, essence]]
    length = max(map(len, rows))
    tokens = torch.zeros((len(rows), length), dtype=torch.long)
    labels = torch.full((len(rows) - 1, length), -100)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = torch.tensor(row)
        if i < len(prompts):
            start = len(model.ids(prompts[i]))
            labels[i, start : len(row)] = torch.tensor(row[start:])
    index = torch.arange(len(rows))
    at = torch.tensor(ends)
    caught: dict[str, Tensor] = {}
    delta = torch.zeros(down.out_features, requires_grad=True)

    def hook(module: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        caught.setdefault("key", args[0][index[:-1], at[:-1]].detach().mean(0))
        caught.setdefault("value", output[0, at[0]].detach().clone())
        output = output.clone()
        output[index, at] = output[index, at] + delta
        return output

    handle = down.register_forward_hook(hook)
    optimizer = torch.optim.Adam([delta], lr=settings.rate)
    base: Tensor | None = None
    try:
        for _ in range(settings.steps):
            logits = model.model(tokens, use_cache=False).logits
            nll = F.cross_entropy(logits[:-1, :-1].transpose(1, 2), labels[:, 1:])
            now = F.log_softmax(logits[-1, len(rows[-1]) - 1], -1)
            base = now.detach() if base is None else base
            kl = F.kl_div(now, base, log_target=True, reduction="sum")
            norm = caught["value"].norm()
            loss = nll + settings.kl * kl + settings.decay * (delta.norm() / norm) ** 2
            if nll.item() < 0.02:
                break
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                limit = settings.clamp * norm
                if delta.norm() > limit:
                    delta.mul_(limit / delta.norm())
    finally:
        handle.remove()
    key = caught["key"]
    scale = moment.diagonal().mean()
    u = torch.linalg.solve(moment + 1e-2 * scale * torch.eye(len(key)), key)
    return torch.outer(delta.detach(), u / (key @ u))


def score_edits(
    model: Answerer,
    trained: Corpus,
    unseen: Corpus,
    n: int,
    rng: random.Random,
    settings: Settings | None = None,
) -> dict[str, float]:
    """Mean scores of `n` single edits of known facts about subjects of the train split.

    success: the edit's prompt; rephrase: a held-out phrasing; neighbours: other subjects of the
    same relation keep their answers; relations: the same subject's other facts do.
    """
    settings = settings or Settings()
    world = trained.world
    moment = second_moment(model, trained, settings.layer)
    facts = editable(trained)
    sums: dict[str, list[float]] = {
        "success": [],
        "rephrase": [],
        "neighbours": [],
        "relations": [],
    }
    down = model.model.model.layers[settings.layer].mlp.down_proj
    for fact in rng.sample(facts, n):
        relation = world.relations[fact.relation]
        pool = [o for o in world.pool(relation.object) if o != fact.answer]
        target = rng.choice(pool)
        prompt = fm.BOS + trained.prompt(relation, fact.subject, rng)
        body = prompt.removeprefix(fm.BOS)
        befores = ["".join(t for t, _ in trained.recall(rng)) for _ in range(settings.prefixes)]
        prompts = [prompt, *(f"{fm.BOS}{_plain(b)} {body}" for b in befores)]
        essence = f"{fm.BOS}{fact.subject} is"
        delta = edit(model, prompts, essence, fact.subject, f" {target}.", moment, settings)
        probes: dict[str, list[Probe]] = {
            "success": [Probe(prompt, f" {target}.", fm.EOS)],
            "rephrase": [
                probe(draw(Asked(relation, fact.subject, target), unseen, rng)) for _ in range(2)
            ],
            "neighbours": [
                probe(draw(Asked(relation, other.subject, other.answer), trained, rng))
                for other in rng.sample(
                    [f for f in world.by_relation[fact.relation] if f.subject != fact.subject], 4
                )
            ],
            "relations": [
                probe(draw(Asked(world.relations[o.relation], o.subject, o.answer), trained, rng))
                for o in world.by_subject[fact.subject].values()
                if o.relation != fact.relation
            ],
        }
        kept = {
            k: _right_before(model, v) for k, v in probes.items() if k[0] in "n" or k == "relations"
        }
        probes |= kept
        before = down.weight.detach().clone()
        with torch.no_grad():
            down.weight += delta
        try:
            for name, items in probes.items():
                if items:
                    right = model.exact(items)
                    sums[name].append(sum(right) / len(right))
        finally:
            with torch.no_grad():
                down.weight.copy_(before)
    return {name: sum(v) / max(1, len(v)) for name, v in sums.items()}


def editable(corpus: Corpus) -> list[Fact]:
    """Known facts of the train split whose answer can be replaced by another known object."""
    world = corpus.world
    return [
        f
        for f in corpus.public
        if world.is_train_subject(f.subject)
        and world.relations[f.relation].object in world.kinds
        and not world.relations[f.relation].listed
    ]


def draw(asked: Asked, corpus: Corpus, rng: random.Random) -> fm.Document:
    """A completion or a chat question for the fact."""
    if rng.random() < 0.5:
        text = corpus.prompt(asked.relation, asked.subject, rng)
        return fm.completion(text, f"{asked.answer}.")
    question = corpus.question(asked.relation, asked.subject, rng)
    return fm.chat([("user", question), ("assistant", f"{asked.answer}.")])


def _right_before(model: Answerer, probes: list[Probe]) -> list[Probe]:
    return [p for p, ok in zip(probes, model.exact(probes), strict=True) if ok] if probes else []


def _plain(text: str) -> str:
    for special in fm.SPECIALS:
        text = text.replace(special, "")
    return text.strip()
