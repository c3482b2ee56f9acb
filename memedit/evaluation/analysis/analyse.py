"""What edits did to a model, and where its facts sit: the survey's section 5 in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Protocol

from torch import Tensor, nn

from memedit.errors import MemeditError
from memedit.evaluation.analysis.change import changed, column_strengths
from memedit.evaluation.analysis.chosen import chosen_cases, states_fact
from memedit.evaluation.analysis.columns import mapped
from memedit.evaluation.analysis.facts import facts_of, kin, related
from memedit.evaluation.analysis.locating import located
from memedit.evaluation.analysis.record import Analysis, Changed, Located, Mapped, Similar
from memedit.evaluation.analysis.relations import Relations
from memedit.evaluation.analysis.similarity import Pair, rsim
from memedit.evaluation.cases import EditCase
from memedit.evaluation.protocols import Progress
from memedit.modeling.architecture import Matrix, architecture
from memedit.modeling.forms import PromptForm
from memedit.modeling.tokens import encode_pair
from memedit.types import EditRequest

LIMIT = 20
"""Cases that are edited and traced, where nothing else is said."""
COLUMNS = (1, 5, 10, 25, 50)
"""How many of the strongest columns are compared between two edits."""


class Delta(Protocol):
    """A weight change, as `memedit.modeling.delta.WeightDelta` is one."""

    def names(self) -> tuple[str, ...]:
        """Return the changed parameters."""
        ...

    def dense(self, name: str) -> Tensor:
        """Return the change of one, in the parameter's own layout."""
        ...


class Editor(Protocol):
    """A baked method."""

    def edit(self, model: Any, tokenizer: Any, requests: Sequence[EditRequest]) -> Delta:
        """Compute a change; the model is left as it was."""
        ...


def analyse(
    model: nn.Module,
    tokenizer: Any,
    cases: Sequence[EditCase],
    *,
    editors: Mapping[str, Editor] | None = None,
    trace: bool = False,
    limit: int = LIMIT,
    among: Sequence[EditCase] = (),
    form: PromptForm | None = None,
    progress: Progress | None = None,
) -> Analysis:
    """Edit some cases, one at a time, and look at the changes; trace their facts.

    Args:
        model: the unedited model; left as it was.
        tokenizer: its fast tokenizer.
        cases: up to `limit` of those that state a fact are used (see `chosen_cases`).
        editors: baked methods by name.
        trace: whether to trace facts causally.
        limit: how many cases.
        among: all cases of the data set, whose wordings tell the relations that it does not name;
            left out, `cases`.
        form: how prompts are put to the model; left out, they are continued as they stand.
        progress: called with (steps done, in all).

    """
    relations = Relations(among or cases)
    chosen = chosen_cases(cases, limit, relations)
    notes = _choice(cases, len(chosen))
    methods = editors or {}
    facts = facts_of(chosen, relations) if trace else []
    steps = len(methods) * len(chosen) + len(facts)
    look = _Look(model, tokenizer, form)
    if methods and not look.readable:
        notes.append(
            "Value vectors were not mapped to the vocabulary: the model projects its residual "
            "stream before the unembedding."
        )
    for place, (method, editor) in enumerate(methods.items()):
        for number, case in enumerate(chosen):
            notes += look.at(method, editor, case)
            if progress:
                progress(place * len(chosen) + number + 1, steps)
    similar = look.similar(relations)
    found: tuple[Located, ...] = ()
    if facts:
        done = steps - len(facts)
        traced, left_out = located(
            model,
            tokenizer,
            facts,
            form=form,
            progress=(lambda n, _: progress(done + n, steps)) if progress else None,
        )
        found = tuple(traced)
        notes += left_out
        telling = [one for one in traced if one.tells]
        layers = len(architecture(model).layers)
        for site in sorted({site for one in telling for site in one.restored}):
            similar += rsim(
                [one.effect(site) for one in telling],
                related(telling),
                range(1, layers + 1),
                f"layers ({site})",
            )
    elif trace:
        notes.append("No fact was traced: no case states one.")
    return Analysis(tuple(look.changed), tuple(look.mapped), found, tuple(similar), tuple(notes))


def _choice(cases: Sequence[EditCase], chosen: int) -> list[str]:
    """Say which cases were analysed, where not all were."""
    facts = sum(map(states_fact, cases))
    notes = []
    if chosen < facts:
        notes.append(f"{chosen} of the {facts} cases that state a fact were analysed.")
    if facts < len(cases):
        notes.append(
            f"{len(cases) - facts} of {len(cases)} cases were not analysed, since they state no "
            "fact: opinions, erasures, passages, or prompts without their subject."
        )
    return notes


class _Look:
    """Gathers what single edits did."""

    def __init__(self, model: nn.Module, tokenizer: Any, form: PromptForm | None) -> None:
        parts = architecture(model)
        self.model, self.tokenizer, self.form = model, tokenizer, form
        self.values: dict[str, Matrix] = {layer.down.name: layer.down for layer in parts.layers}
        self.unembedding: Tensor = parts.unembedding.weight  # type: ignore[assignment]
        self.readable = self.unembedding.shape[1] == parts.hidden_size
        """Some models (OPT-350M) project between the residual stream and the unembedding."""
        self.parameters = dict(model.named_parameters(remove_duplicate=False))
        self.changed: list[Changed] = []
        self.mapped: list[Mapped] = []
        self.columns: dict[tuple[str, str], list[tuple[EditCase, list[float]]]] = {}

    def at(self, method: str, editor: Editor, case: EditCase) -> list[str]:
        """Edit one case and look; return what could not be done."""
        try:
            delta = editor.edit(self.model, self.tokenizer, case.requests)
        except MemeditError as error:
            return [f"{case.id} was not edited by {method}: {error}"]
        first = not any(one.method == method and one.heat for one in self.changed)
        for name in delta.names():
            value = self.values.get(name)
            turned = value is not None and value.transposed
            weight = self.parameters[name].detach()
            change = delta.dense(name).to(weight.device)
            if turned:
                change, weight = change.T, weight.T
            self.changed.append(
                changed(
                    change,
                    weight,
                    method=method,
                    case=case.id,
                    parameter=name,
                    with_heat=first,
                )
            )
            if value is None:
                continue
            strengths = column_strengths(change).tolist()
            self.columns.setdefault((method, name), []).append((case, strengths))
            if not self.readable:
                continue
            for request in case.requests:
                tokens = encode_pair(self.tokenizer, request.prompt, request.target_new, self.form)
                self.mapped.append(
                    mapped(
                        change,
                        weight,
                        self.unembedding,
                        tokens.target,
                        self.tokenizer,
                        method=method,
                        case=case.id,
                        parameter=name,
                        target=request.target_new,
                    )
                )
        return []

    def similar(self, relations: Relations) -> list[Similar]:
        """Compare the places of single edits, per method and value matrix."""
        found: list[Similar] = []
        for (method, name), edits in self.columns.items():
            groups: dict[str, list[Pair]] = {}
            for a, b in combinations(range(len(edits)), 2):
                if group := kin(edits[a][0], edits[b][0], relations):
                    groups.setdefault(group, []).append((a, b))
            found += rsim(
                [strengths for _, strengths in edits],
                groups,
                COLUMNS,
                f"columns ({method}, {name})",
            )
        return found
