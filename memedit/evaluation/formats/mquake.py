"""MQuAKE: questions whose answers lean on several facts, some of them edited.

Source: Zhong et al. 2023, "MQuAKE: Assessing Knowledge Editing in Language Models via Multi-Hop
Questions"
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from memedit.evaluation.cases import EditCase, Fault, Metric
from memedit.evaluation.formats.base import (
    CaseFormat,
    Draft,
    Reading,
    Unusable,
    alternatives,
    as_list,
    as_object,
    filled,
    first,
    named_text,
    read_json,
    records,
    request_of,
)
from memedit.evaluation.matching import normalised
from memedit.registry import register
from memedit.types import EditRequest

UNEDITED_HOP = "Unedited_Hop"


@register("mquake")
class Mquake(CaseFormat):
    """`requested_rewrite` is a list of rewrites, all of them one case's edits.

    The multi-hop questions have the number of hops as their kind. The `question` of a rewrite is
    generality, and so is a hop marked as edited (AtlasEdit); a hop of the new chain that no edit of
    the case touches is locality.
    """

    def read(self, path: Path, reading: Reading) -> None:
        """Read all cases; name the hops that the edits of another case change."""
        hops: list[tuple[str, str, str]] = []
        for draft, record in records(read_json(path), reading):
            try:
                case, untouched = _case(draft, as_object(record), reading.task)
            except Unusable as why:
                draft.fault("", str(why))
                continue
            reading.cases.append(case)
            hops.extend((case.id, place, prompt) for place, prompt in untouched)
        edited: dict[str, str] = {}
        for case in reading.cases:
            for probe in case.probes:
                if probe.metric in (Metric.EDIT_SUCCESS, Metric.GENERALITY):
                    edited.setdefault(normalised(probe.prompt), case.id)
        for case_id, place, prompt in hops:
            if edited.get(normalised(prompt), case_id) != case_id:
                reason = "another case edits this hop: wrong once all edits are in memory"
                reading.faults.append(Fault(case_id + place, reason, dropped=False))


def _case(
    draft: Draft, fields: dict[str, Any], task: str
) -> tuple[EditCase, list[tuple[str, str]]]:
    """Return the case, and the place and the prompt of each hop that its edits do not touch."""
    hops = [hop for hop in as_list(fields.get("new_single_hops")) if isinstance(hop, dict)]
    rewrites = as_list(fields.get("requested_rewrite"))
    if not rewrites:
        raise Unusable("it has no requested rewrites")
    requests: list[EditRequest] = []
    relations: list[str] = []
    touched: set[str] = set()
    for number, rewrite in enumerate(map(as_object, rewrites)):
        place = f".requested_rewrite[{number}]"
        target = alternatives(named_text(rewrite.get("target_new")))
        request = request_of(
            prompt=filled(rewrite.get("prompt"), rewrite.get("subject")),
            subject=rewrite.get("subject"),
            target_new=first(target),
            ground_truth=first(alternatives(named_text(rewrite.get("target_true")))),
            statement=rewrite.get("statement"),
        )
        requests.append(request)
        relations.append(str(rewrite.get("relation_id") or rewrite.get("relation") or ""))
        own = {normalised(request.prompt), normalised(str(rewrite.get("question") or ""))}
        # The aliases of a new answer stand beside the hop that gives it.
        same = [hop for hop in hops if own & _asked(hop)]
        answers = alternatives(target, *(_answers(hop) for hop in same))
        touched |= own
        draft.ask(Metric.EDIT_SUCCESS, "", place, request.prompt, answers)
        if rewrite.get("question") is not None:
            draft.ask(Metric.GENERALITY, "", f"{place}.question", rewrite["question"], answers)
    answers = alternatives(fields.get("new_answer"), fields.get("new_answer_alias"))
    for number, question in enumerate(as_list(fields.get("questions"))):
        kind = f"{len(hops)} hops"
        draft.ask(Metric.MULTIHOP, kind, f".questions[{number}]", question, answers)
    untouched = []
    for number, hop in enumerate(hops):
        if touched & _asked(hop):
            continue
        place = f".new_single_hops[{number}]"
        prompt = hop.get("question") or hop.get("cloze")
        answers = alternatives(*_answers(hop))
        if hop.get("edited") is True:
            draft.ask(Metric.GENERALITY, "", place, prompt, answers)
            continue
        draft.ask(Metric.LOCALITY, UNEDITED_HOP, place, prompt, answers)
        if isinstance(prompt, str):
            untouched.append((place, prompt))
    relation = " ".join(dict.fromkeys(filter(None, relations)))
    return draft.case(task, tuple(requests), relation=relation), untouched


def _asked(hop: dict[str, Any]) -> set[str]:
    """Return the hop's question and cloze, as they are compared."""
    return {
        normalised(text) for name in ("question", "cloze") if (text := str(hop.get(name) or ""))
    }


def _answers(hop: dict[str, Any]) -> list[Any]:
    return [hop.get("answer"), hop.get("answer_alias")]
