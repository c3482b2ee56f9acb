"""Which layers and settings suit a model: `python -m examples.bake_sweep --method rome:layer=3`.

Single edits of a data set's train split, many settings of many methods, cheaply: the edits' values
are searched in one batch and shared by all methods that search the same, and all edited models are
asked together (see `edited_rows`).  `memedit eval` measures one edit at a time, with all that it
reports; here it is success, generality and locality of generated answers, to choose settings by.

Two bounds stand beside the methods.  `ceiling` is the unedited model asked for its *old* answers:
what of the prompts and rephrases it answers exactly, edits apart.  `value:layer=L` adds the value
that was searched at layer L to the subject's last token of whatever is asked and changes no
weight: what a method of keys and values could reach there, were every key met exactly.

`--together` puts all edits into one change, as a batch.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from examples.edited_rows import Delta, Rows, added_to_prompts, continue_rows, own_weights
from memedit.cli.variants import read_variants
from memedit.editing.base import Editor
from memedit.editing.bird import Bird
from memedit.editing.catalog import open_editor
from memedit.editing.key_value import KeyValueEditor
from memedit.editing.memit import Spreading
from memedit.editing.values import Values
from memedit.engine.loading import load_model
from memedit.errors import DivergedError, InvalidInputError, MemeditError
from memedit.evaluation.cases import EditCase, Metric
from memedit.evaluation.datasets import load_dataset, spread
from memedit.evaluation.matching import contains, exact, same
from memedit.modeling.architecture import architecture
from memedit.modeling.forms import AutoForm
from memedit.modeling.frozen import left_as_found
from memedit.modeling.hooks import Places
from memedit.modeling.subject import subject_span
from memedit.modeling.tokens import encode_prompt

TASKS = ("zsre", "wiki_counterfact", "wiki_recent")
MOST_TOKENS = 24
ROWS = 96
"""Rows that are asked together."""
LEARNED = 0.1
"""A search found its value when the target's loss is under this."""


def cases_of(data: str, split: str, limit: int) -> list[EditCase]:
    """Return cases of one edit that names its subject, spread over the tasks."""
    cases = load_dataset(data, split=split, tasks=list(TASKS)).cases
    fit = [case for case in cases if len(case.requests) == 1 and _named(case)]
    return list(spread(fit, limit))


def _named(case: EditCase) -> bool:
    return case.requests[0].subject in case.requests[0].prompt


class Bench:
    """A model, the cases that its edits are tried on, and what was searched already.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer.
        cases: those that are edited.
        ask: how many of them are asked about; ``None``: all.

    """

    def __init__(
        self, model: Any, tokenizer: Any, cases: Sequence[EditCase], ask: int | None = None
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.form = AutoForm.of(tokenizer)
        self.requests = [case.requests[0] for case in cases]
        chosen = {case.id for case in spread(cases, ask or len(cases))}
        wanted = (Metric.EDIT_SUCCESS, Metric.GENERALITY, Metric.LOCALITY)
        self.asked = [
            (number, probe)
            for number, case in enumerate(cases)
            for probe in case.probes
            if case.id in chosen and probe.metric in wanted
        ]
        self._found: dict[Any, Values] = {}
        self.before = self.answers()

    # --- editing ---

    def values(self, editor: KeyValueEditor[Any]) -> Values:
        """Search the values of all edits at once, or take those of a method that did the same.

        Raises:
            DivergedError: nothing was found for any of them.

        """
        config, layer = editor.config, architecture(self.model).layer(editor.layer)
        own = editor.name if editor.name in ("bird", "pmet") else ""
        modules = editor.shifted(layer) if isinstance(editor, Spreading) else [layer.down.module]
        words = (config.contexts, config.context_tokens, config.seed)
        key = (own, id(modules[0]), words, config.search)
        if key not in self._found:
            with left_as_found(self.model):
                more = (
                    editor.extra(self.model, self.tokenizer, self.requests)
                    if isinstance(editor, Bird)
                    else None
                )
                self._found[key] = editor.search(
                    self.model, self.tokenizer, self.requests, modules, lambda *_: None, more
                )
        return self._found[key]

    def deltas(self, editor: Editor[Any], *, together: bool = False) -> list[Delta]:
        """Return every edit's change, ``None`` where the method refuses it; or one for all."""
        found = self.values(editor) if isinstance(editor, KeyValueEditor) else None
        if together:
            return [self._delta(editor, slice(0, len(self.requests)), found)]
        return [
            self._delta(editor, slice(number, number + 1), found)
            for number in range(len(self.requests))
        ]

    def _delta(self, editor: Editor[Any], cut: slice, found: Values | None) -> Delta:
        if found is not None:
            own = replace(
                found,
                starts=tuple(part[cut] for part in found.starts),
                deltas=tuple(part[cut] for part in found.deltas),
                losses_before=found.losses_before[cut],
                losses=found.losses[cut],
            )
            if own.losses.mean() >= own.losses_before.mean():
                return None
            setattr(editor, "search", lambda *_, **__: own)  # noqa: B010
        try:
            return editor.edit(self.model, self.tokenizer, self.requests[cut])
        except MemeditError:
            return None

    # --- asking ---

    def answers(
        self, deltas: Sequence[Delta] | None = None, value: tuple[Any, Tensor] | None = None
    ) -> list[str]:
        """Let every edited model answer its probes greedily.

        Args:
            deltas: of every edit; left out, the model as it is.
            value: a module, and what to add to its output at the subject's last token
                [edits, d], where a prompt names the subject.

        """
        said = [""] * len(self.asked)
        prompts = [encode_prompt(self.tokenizer, p.prompt, self.form).ids for _, p in self.asked]
        order = sorted(range(len(prompts)), key=lambda n: len(prompts[n]))
        for first in range(0, len(order), ROWS):
            part = order[first : first + ROWS]
            owners = [self.asked[n][0] for n in part]
            rows = Rows([prompts[n] for n in part], int(self.tokenizer.pad_token_id or 0))
            with ExitStack() as stack:
                if deltas is not None:
                    stack.enter_context(own_weights(self.model, rows, deltas, owners))
                if value is not None:
                    ends = {row: self._subject(n) for row, n in enumerate(part)}
                    pairs = [
                        (row, end + rows.width - len(prompts[part[row]]))
                        for row, end in ends.items()
                        if end is not None
                    ]
                    added = value[1][[owners[row] for row, _ in pairs]]
                    on = Places.of(pairs, len(part))
                    stack.enter_context(added_to_prompts(value[0], on, added))
                continue_rows(self.model, rows, MOST_TOKENS)
            for row, n in enumerate(part):
                said[n] = str(self.tokenizer.decode(rows.new[row], skip_special_tokens=True))
        return [text.strip() for text in said]

    def _subject(self, number: int) -> int | None:
        owner, probe = self.asked[number]
        subject = self.requests[owner].subject
        try:
            return subject_span(self.tokenizer, probe.prompt, subject, self.form)[1].last
        except InvalidInputError:
            return None

    def scores(self, said: Sequence[str]) -> dict[str, float]:
        """Return shares: of success and generality (``~``: the answer holds the target) and, by
        the data set's own name, of locality."""
        sums: dict[str, list[bool]] = defaultdict(list)
        for (_, probe), now, old in zip(self.asked, said, self.before, strict=True):
            if probe.metric is Metric.LOCALITY:
                sums[probe.kind].append(same(now, old))
                continue
            sums[probe.metric.value].append(exact(now, probe.answers))
            sums[f"{probe.metric.value}~"].append(contains(now, probe.answers))
        return _means(sums)

    def ceiling(self) -> dict[str, float]:
        """Ask the unedited model for its old answers, where the data set knows them."""
        sums: dict[str, list[bool]] = defaultdict(list)
        for (owner, probe), said in zip(self.asked, self.before, strict=True):
            old = self.requests[owner].ground_truth
            if probe.metric is not Metric.LOCALITY and old is not None:
                sums[probe.metric.value].append(exact(said, (old,)))
                sums[f"{probe.metric.value}~"].append(contains(said, (old,)))
        return _means(sums)


def _means(sums: dict[str, list[bool]]) -> dict[str, float]:
    return {name: sum(right) / len(right) for name, right in sorted(sums.items())}


def measured(bench: Bench, method: str, *, together: bool = False) -> dict[str, Any]:
    """Measure one method with its settings, or a bound."""
    if method == "ceiling":
        return bench.ceiling()
    bound = method.startswith("value:")
    [variant] = read_variants(method.replace("value:", "r-rome:", 1) if bound else method)
    editor = open_editor(variant.method, variant.settings, prompt_form=bench.form)
    editor = editor.resolved(bench.model, bench.tokenizer)
    more: dict[str, Any] = {}
    if isinstance(editor, KeyValueEditor):
        try:
            found = bench.values(editor)
        except DivergedError:  # for none of them: a layer from which nothing reaches the answer
            return {**bench.scores(bench.before), "found": 0.0, "refused": len(bench.requests)}
        more = {"found": float((found.losses < LEARNED).float().mean()), "steps": found.steps}
        if bound:
            down = architecture(bench.model).layer(editor.layer).down.module
            return {**bench.scores(bench.answers(value=(down, found.deltas[0]))), **more}
    deltas = bench.deltas(editor, together=together)
    more["refused"] = sum(delta is None for delta in deltas)
    made = [delta for delta in deltas if delta is not None]
    norms = [sum(float(delta.dense(name).norm()) for name in delta.names()) for delta in made]
    more["norm"] = sum(norms) / max(1, len(norms))
    if together and made:
        with made[0].applied(bench.model):
            return {**bench.scores(bench.answers()), **more}
    return {**bench.scores(bench.answers(deltas)), **more}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: a line of JSON for each method."""
    parser = argparse.ArgumentParser(description="Which layers and settings suit a model.")
    parser.add_argument("--model", type=Path, default=Path("examples/atlas/model"))
    parser.add_argument("--method", default="ceiling", help="as `memedit eval` takes them")
    parser.add_argument("--data", default="atlasedit")
    parser.add_argument("--split", default="train")
    parser.add_argument("--limit", type=int, default=24, help="edits")
    parser.add_argument("--ask", type=int, help="about so many of them; else about all")
    parser.add_argument("--together", action="store_true", help="all edits in one change")
    parser.add_argument("--dtype", default="auto", help="auto is float32 on a CPU")
    parser.add_argument("--log", type=Path, help="rows are kept here, and not measured again")
    options = parser.parse_args(arguments)
    kept = ("split", "limit", "ask", "together", "dtype")
    known: dict[Any, dict[str, Any]] = {}
    if options.log is not None and options.log.is_file():
        for line in options.log.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            known[tuple(row[name] for name in ("method", *kept))] = row
    bench: Bench | None = None
    for variant in read_variants(options.method):
        row = {"method": variant.name, **{name: getattr(options, name) for name in kept}}
        if (old := known.get(tuple(row.values()))) is not None:
            print(json.dumps(old), flush=True)
            continue
        if bench is None:
            loaded = load_model(options.model, dtype=options.dtype, device="cpu")
            cases = cases_of(options.data, options.split, options.limit)
            bench = Bench(loaded.model, loaded.tokenizer, cases, options.ask)
        row |= measured(bench, variant.name, together=options.together)
        print(json.dumps(row), flush=True)
        if options.log is not None:
            with options.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
