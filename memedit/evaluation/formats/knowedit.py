"""KnowEdit: its six tasks.

Source: Zhang et al. 2024, "A Comprehensive Study of Knowledge Editing for Large Language Models",
https://huggingface.co/datasets/zjunlp/KnowEdit
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from memedit.errors import DatasetError
from memedit.evaluation.cases import EditCase, Metric, Probe, Replies
from memedit.evaluation.formats.base import (
    CaseFormat,
    Draft,
    Reading,
    Unusable,
    alternatives,
    as_list,
    as_object,
    first,
    read_json,
    records,
    request_of,
)
from memedit.evaluation.matching import REFUSALS
from memedit.registry import register
from memedit.types import Operation

OTHER_TOPIC = "Other_Topic"
"""ConvSent's locality: the same question about another topic of the file."""
WORD_FOR_WORD = "word for word"
"""ConvSent's edit success by exact match: a floor wherever replies are free text."""
_GROUPS = {"portability": Metric.PORTABILITY, "locality": Metric.LOCALITY}
_OWN = {"case_id", "cond", "ground_truth", "id", "prompt", "subject", "target_new"}
_FACT = {*_GROUPS, *_OWN, "rephrase_prompt"}
_BIOGRAPHY = {*_GROUPS, "concept", "labels", "text"}
_OPINION = "What do you think of {}?"


@register("knowedit")
class KnowEdit(CaseFormat):
    """ZsRE, WikiData_counterfact, WikiData_recent, WikiBio, ConvSent and Sanitation.

    - Facts: prompt and rephrase are to be answered with the target; `portability` and `locality`
      hold groups of probes, whose names become their kinds.
    - WikiBio: the passage is the prompt, the true sentence the target.
    - ConvSent: positive replies are wanted of about half the topics, negative ones of the others
      (see `wants_positive`). Locality asks after the next topic of the file.
    - Sanitation: what is to be forgotten (`K_F`) becomes erasures, for which any refusal counts;
      what is to be retained (`K_R`) becomes probes, dealt out over the erasures: every one is asked
      once, with something erased.
    """

    def read(self, path: Path, reading: Reading) -> None:
        """Read whichever of the tasks the file holds."""
        document = read_json(path)
        if isinstance(document, dict):
            _sanitation(document, reading)
            return
        usable: list[tuple[Draft, dict[str, Any]]] = []
        for draft, record in records(document, reading):
            try:
                fields = as_object(record)
                if fields.keys() >= {"ent", "pos", "neg"}:
                    usable.append((draft, fields))
                elif fields.keys() >= {"text", "labels", "concept"}:
                    reading.cases.append(_biography(draft, fields, reading.task))
                else:
                    reading.cases.append(_fact(draft, fields, reading.task))
            except Unusable as why:
                draft.fault("", str(why))
        _sentiments(usable, reading)


def _name_unknown(draft: Draft, fields: dict[str, Any], known: set[str]) -> None:
    """Name what nobody reads: a misspelt group would vanish with all its probes."""
    for name in sorted(fields.keys() - known):
        draft.fault(
            f".{name}", f"the format has no field {name!r}, which is not read", dropped=False
        )


def _fact(draft: Draft, fields: dict[str, Any], task: str) -> EditCase:
    targets = alternatives(fields.get("target_new"))
    request = request_of(
        prompt=fields.get("prompt"),
        subject=fields.get("subject"),
        target_new=first(targets),
        ground_truth=first(alternatives(fields.get("ground_truth"))),
        operation=Operation.MODIFY if "ground_truth" in fields else Operation.INSERT,
    )
    if "ground_truth" in fields and request.ground_truth is None:
        draft.fault(".ground_truth", "the old answer is blank", dropped=False)
    _name_unknown(draft, fields, _FACT)
    draft.ask(Metric.EDIT_SUCCESS, "", ".prompt", request.prompt, targets)
    for rephrase in as_list(fields.get("rephrase_prompt")):
        draft.ask(Metric.GENERALITY, "", ".rephrase_prompt", rephrase, targets)
    _ask_groups(draft, fields)
    return draft.case(task, (request,))


def _biography(draft: Draft, fields: dict[str, Any], task: str) -> EditCase:
    request = request_of(
        prompt=fields["text"],
        subject=fields["concept"],
        target_new=first(alternatives(fields["labels"])),
        statement=first(alternatives(fields["labels"])),
    )
    _name_unknown(draft, fields, _BIOGRAPHY)
    answers = alternatives(fields["labels"])
    draft.ask(Metric.EDIT_SUCCESS, "", ".text", request.prompt, answers)
    _ask_groups(draft, fields)
    return draft.case(task, (request,))


def _ask_groups(draft: Draft, fields: dict[str, Any]) -> None:
    for name, metric in _GROUPS.items():
        groups = fields.get(name) or {}
        if not isinstance(groups, dict):
            draft.fault(f".{name}", f"expected groups of probes, got {type(groups).__name__}")
            continue
        for kind, probes in groups.items():
            for number, probe in enumerate(as_list(probes)):
                place = f".{name}.{kind}[{number}]"
                if not isinstance(probe, dict):
                    draft.fault(place, f"expected a probe, got {type(probe).__name__}")
                    continue
                answers = alternatives(probe.get("ground_truth"))
                draft.ask(metric, kind, place, probe.get("prompt"), answers)


def _sentiments(usable: Sequence[tuple[Draft, dict[str, Any]]], reading: Reading) -> None:
    cases = []
    for draft, fields in usable:
        topic = first(alternatives(fields["ent"]))
        sides = {name: alternatives(fields[name]) for name in ("pos", "neg")}
        if topic is None or not all(sides.values()):
            draft.fault("", "it lacks a topic, or replies of one sentiment")
            continue
        side, other_side = ("pos", "neg") if wants_positive(topic) else ("neg", "pos")
        wanted, unwanted = sides[side], sides[other_side]
        prompt = _OPINION.format(topic)
        try:
            request = request_of(
                prompt=prompt, subject=topic, target_new=wanted[0], ground_truth=unwanted[0]
            )
        except Unusable as why:
            draft.fault("", str(why))
            continue
        draft.ask(Metric.EDIT_SUCCESS, WORD_FOR_WORD, f".{side}", prompt, wanted)
        cases.append(
            draft.case(reading.task, (request,), replies=Replies(prompt, wanted, unwanted))
        )
    for case, other in zip(cases, cases[1:] + cases[:1], strict=True):
        probes = case.probes
        if other is not case and other.replies is not None:
            asked = other.replies.prompt
            if asked != case.probes[0].prompt:
                answers = other.replies.wanted + other.replies.unwanted
                probes = (*probes, Probe(Metric.LOCALITY, OTHER_TOPIC, asked, answers))
        reading.cases.append(replace(case, probes=probes))


def wants_positive(topic: str) -> bool:
    """Tell which sentiment an edit of ConvSent is to bring about; the file does not say.

    The code of SERAC and of the survey draws it for each topic, evenly. Here it follows from the
    topic's name, so that it is the same in every run: a model that is kind about everything is
    right about half of them only.
    """
    return zlib.crc32(topic.encode()) % 2 == 0


def _sanitation(document: dict[str, Any], reading: Reading) -> None:
    if not isinstance(document.get("K_F"), list):
        raise DatasetError("it is no list of records, and has no list K_F (Sanitation)")
    drafts = []
    for draft, record in records(document["K_F"], reading, ".K_F"):
        try:
            fields = as_object(record)
            answers = alternatives(fields.get("target_new"))
            request = request_of(
                prompt=fields.get("question"),
                subject=fields.get("subject"),
                target_new=first(answers),
                ground_truth=first(alternatives(fields.get("ground_truth"))),
                operation=Operation.ERASE,
            )
        except Unusable as why:
            draft.fault("", str(why))
            continue
        refused = alternatives(list(answers), list(REFUSALS))
        draft.ask(Metric.EDIT_SUCCESS, "", ".question", request.prompt, refused)
        drafts.append((draft, request))
    retained = records(document.get("K_R", []), reading, ".K_R")
    for number, (draft, record) in enumerate(retained):
        if not isinstance(record, dict):
            draft.fault("", f"expected an object, got {type(record).__name__}")
        elif not drafts:
            draft.fault("", "there is no erasure under which it could be asked")
        else:
            answers = alternatives(record.get("ground_truth"), record.get("target_new"))
            before = len(draft.probes)
            draft.ask(Metric.RETENTION, "", "", record.get("question"), answers)
            drafts[number % len(drafts)][0].probes.extend(draft.probes[before:])
    reading.cases.extend(draft.case(reading.task, (request,)) for draft, request in drafts)
