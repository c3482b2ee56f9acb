"""Trains the counterfactual model: some of a checkpoint's layers learn to answer from an edit."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from memedit.errors import InvalidInputError
from memedit.modeling.forms import ChatForm, chat_form
from memedit.modeling.tokens import Tokens, encode_pair, pad
from memedit.scope.training.precision import half_where_fast
from memedit.serac.examples import Row, Rows, Taught

STATE = "state.safetensors"
POOL = 16
"""Batches whose rows are drawn together, and sorted by their length."""
SAVE_EVERY = 100


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train."""

    steps: int = 400
    batch: int = 48
    rate: float = 1e-3
    warmup: int = 40
    layers: int | None = None
    """How many of the base's layers are kept; ``None``: half of them."""
    longest: int = 512
    """Tokens of a row; longer ones are left out."""
    seed: int = 7


Tell = Callable[[int, int], None]


class Trainer:
    """Trains one model on a stream of rows; goes on from the state that it finds in its folder.

    Broken off and taken up again it ends as if it had not been; with more steps it goes on with
    the rate that a run of so many steps has there.

    Args:
        model: changed in place; already cut.
        tokenizer: its tokenizer.
        taught: the edits to train on.
        recipe: how.
        run: folder of the state; made where it is missing.

    """

    def __init__(
        self, model: Any, tokenizer: Any, taught: Sequence[Taught], recipe: Recipe, run: Path
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.recipe = recipe
        self.form = chat_form(tokenizer) if getattr(tokenizer, "chat_template", None) else None
        self.step = 0
        self._run = run
        self._rows = Rows(taught, tokenizer, self.form is not None, recipe.seed)
        self._parameters = dict(model.named_parameters())
        self._optimizer = torch.optim.AdamW(
            self._parameters.values(), lr=recipe.rate, betas=(0.9, 0.98), weight_decay=0.01
        )
        run.mkdir(parents=True, exist_ok=True)
        self._resume()

    def train(self, tell: Tell | None = None) -> list[float]:
        """Train to the last step; return the mean loss of each hundred steps that were made."""
        recipe, curve, part = self.recipe, list[float](), list[float]()
        self.model.train()
        while self.step < recipe.steps:
            block = self.step // POOL
            batches = self._batches(block)
            for batch in batches[self.step % POOL :]:
                factor = min(1.0, (self.step + 1) / recipe.warmup)
                factor *= 0.5 + 0.5 * math.cos(math.pi * self.step / recipe.steps)
                for group in self._optimizer.param_groups:
                    group["lr"] = recipe.rate * factor
                part.append(self._learn(batch))
                self.step += 1
                if self.step % SAVE_EVERY == 0 or self.step == recipe.steps:
                    curve.append(sum(part) / len(part))
                    part = []
                    self._save(curve[-1])
                if tell is not None:
                    tell(self.step, recipe.steps)
                if self.step == recipe.steps:
                    break
        self.model.eval()
        return curve

    def tokens(self, row: Row) -> Tokens:
        """Cut a row into tokens; its target ends as an answer ends."""
        return row_tokens(self.tokenizer, self.form, row)

    def _batches(self, block: int) -> list[list[Tokens]]:
        size = self.recipe.batch
        rows = [self.tokens(row) for row in self._rows.drawn(block, POOL * size)]
        rows.sort(key=lambda one: len(one.prompt) + len(one.target))
        cuts = [rows[at : at + size] for at in range(0, len(rows), size)]
        # the shortest first, the longest second, ...: an order that favours no length
        mixed = [cuts[place * 5 % POOL] for place in range(POOL)]
        return [[one for one in batch if self._fits(one)] for batch in mixed]

    def _fits(self, row: Tokens) -> bool:
        return len(row.prompt) + len(row.target) <= self.recipe.longest

    def _learn(self, rows: Sequence[Tokens]) -> float:
        if not rows:
            return 0.0
        batch = pad(rows, self.tokenizer)
        given = batch.inputs(self.model)
        device = given["input_ids"].device
        with half_where_fast(device.type):
            logits: Tensor = self.model(**given).logits
        labels = batch.labels.to(device)[:, 1:]
        chosen = labels >= 0
        loss = nn.functional.cross_entropy(logits[:, :-1][chosen].float(), labels[chosen])
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._parameters.values(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    def _save(self, loss: float) -> None:
        """Write weights and optimizer, whole or not at all."""
        tensors = {f"model.{name}": one.detach() for name, one in self._parameters.items()}
        for name, one in self._parameters.items():
            for key, value in self._optimizer.state[one].items():
                tensors[f"{key}.{name}"] = value
        meta = {"step": str(self.step), "recipe": json.dumps(asdict(self.recipe), sort_keys=True)}
        draft = self._run / f"{STATE}.part"
        save_file({name: one.contiguous() for name, one in tensors.items()}, draft, metadata=meta)
        draft.replace(self._run / STATE)
        with (self._run / "curve.jsonl").open("a", encoding="utf-8") as curve:
            curve.write(json.dumps({"step": self.step, "loss": round(loss, 4)}) + "\n")

    def _resume(self) -> None:
        file = self._run / STATE
        if not file.exists():
            return
        from safetensors import safe_open

        with safe_open(file, framework="pt") as opened:
            meta = opened.metadata()
        theirs, ours = json.loads(meta["recipe"]), asdict(self.recipe)
        if theirs | {"steps": 0} != ours | {"steps": 0}:
            raise InvalidInputError(
                f"{self._run} holds the state of another recipe ({meta['recipe']}); go on with "
                "the same options, or give another folder"
            )
        tensors = load_file(file)
        with torch.no_grad():
            for name, one in self._parameters.items():
                one.copy_(tensors[f"model.{name}"])
                self._optimizer.state[one] = {
                    key: tensors[f"{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")
                }
        self.step = int(meta["step"])


def rows_loss(model: Any, tokenizer: Any, rows: Sequence[Row]) -> float:
    """Return the mean loss over the tokens of the rows' answers; nothing is changed."""
    form = chat_form(tokenizer) if getattr(tokenizer, "chat_template", None) else None
    batch = pad([row_tokens(tokenizer, form, row) for row in rows], tokenizer)
    given = batch.inputs(model)
    device = given["input_ids"].device
    labels = batch.labels.to(device)[:, 1:]
    with torch.no_grad(), half_where_fast(device.type):
        logits = model(**given).logits
    chosen = labels >= 0
    return float(nn.functional.cross_entropy(logits[:, :-1][chosen].float(), labels[chosen]))


def said_exactly(model: Any, tokenizer: Any, rows: Sequence[Row]) -> float | None:
    """Return the share of rows whose answer the model says greedily, to its very end."""
    form = chat_form(tokenizer) if getattr(tokenizer, "chat_template", None) else None
    cuts = sorted(
        (row_tokens(tokenizer, form, row) for row in rows),
        key=lambda one: len(one.prompt) + len(one.target),
    )
    said = 0
    for at in range(0, len(cuts), POOL):
        batch = pad(cuts[at : at + POOL], tokenizer)
        with torch.no_grad():
            best = model(**batch.inputs(model)).logits.argmax(-1)[:, :-1].cpu()
        labels = batch.labels[:, 1:]
        said += int(((best == labels) | (labels < 0)).all(1).sum())
    return round(said / len(cuts), 4) if cuts else None


def row_tokens(tokenizer: Any, form: ChatForm | None, row: Row) -> Tokens:
    """Cut a row into tokens, as a server cuts such a request; the target ends as answers end."""
    if not row.chat or form is None:
        return encode_pair(tokenizer, row.text, row.answer + (tokenizer.eos_token or ""))
    if row.earlier is None:
        return encode_pair(tokenizer, row.text, row.answer + form.end, form)
    asked, said = row.earlier

    def rendered(text: str) -> str:
        turns = [("user", asked), ("assistant", said), ("user", text)]
        whole: str = tokenizer.apply_chat_template(
            [{"role": role, "content": content} for role, content in turns],
            tokenize=False,
            add_generation_prompt=True,
        )
        return whole

    return encode_pair(tokenizer, row.text, form.lead + row.answer + form.end, rendered)
