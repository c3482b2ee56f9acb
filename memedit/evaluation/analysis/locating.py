"""Tracing facts so that the places of two can be compared (survey, section 5.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from memedit.errors import InvalidInputError
from memedit.evaluation.analysis.facts import Asked
from memedit.evaluation.analysis.record import Located
from memedit.evaluation.protocols import Progress
from memedit.modeling.facts import TracePrompt
from memedit.modeling.forms import PromptForm
from memedit.modeling.tokens import Tokens, encode_prompt, pad
from memedit.modeling.trace import Position, PromptProfile
from memedit.modeling.tracing import TraceConfig, trace

AT_ONCE = 32


def located(
    model: nn.Module,
    tokenizer: Any,
    facts: Sequence[Asked],
    *,
    config: TraceConfig | None = None,
    form: PromptForm | None = None,
    progress: Progress | None = None,
) -> tuple[list[Located], list[str]]:
    """Trace each fact, and say which could not be.

    What is traced is the token that the model itself would say next, whether it is true or not:
    where a fact is *decided* is asked. Facts of which the model is not sure (`config.threshold`)
    are left out, as in Meng et al. 2022.

    Args:
        model: the unedited model; left as it was.
        tokenizer: its fast tokenizer.
        facts: what to trace.
        config: how to trace; the subject's last token must be among its positions.
        form: how a prompt is put to the model; left out, it is continued as it stands.
        progress: called with (facts done, in all).

    Returns:
        the traced facts, and a sentence for each that was not.

    """
    chosen = config or TraceConfig(positions=(Position.SUBJECT_LAST,))
    answers = own_answers(model, tokenizer, [fact.prompt for fact in facts], form)
    asked = [(fact, answer) for fact, answer in zip(facts, answers, strict=True) if answer]
    left_out = [
        f"{fact.case} ({fact.role}) was not traced: the model's own answer begins with no text"
        for fact, answer in zip(facts, answers, strict=True)
        if not answer
    ]
    prompts = [TracePrompt(fact.prompt, fact.subject, answer) for fact, answer in asked]
    try:
        traced = trace(model, tokenizer, prompts, chosen, form=form, progress=progress)
    except InvalidInputError as error:
        return [], [*left_out, f"No fact was traced: {error}"]
    left_out += [
        f"{asked[one.prompt][0].case} ({asked[one.prompt][0].role}) was not traced: {one.reason}"
        for one in traced.skipped
    ]
    return [_one(*asked[profile.prompt], profile) for profile in traced.profiles], left_out


def _one(fact: Asked, answer: str, profile: PromptProfile) -> Located:
    return Located(
        case=fact.case,
        role=fact.role,
        prompt=fact.prompt,
        subject=fact.subject,
        relation=fact.relation,
        answer=answer,
        clean=profile.clean,
        corrupted=profile.corrupted,
        restored={str(kind): tuple(values) for kind, values in profile.restored.items()},
    )


def own_answers(
    model: nn.Module, tokenizer: Any, prompts: Sequence[str], form: PromptForm | None = None
) -> list[str]:
    """Return the text of the token that the model says next, one per prompt, without spaces."""
    was_training = model.training
    model.eval()
    said: list[str] = []
    try:
        with torch.no_grad():
            for start in range(0, len(prompts), AT_ONCE):
                part = prompts[start : start + AT_ONCE]
                rows = [Tokens(encode_prompt(tokenizer, one, form).ids, ()) for one in part]
                batch = pad(rows, tokenizer)
                logits = model(**batch.inputs(model)).logits  # [B, S, vocabulary]
                ends = batch.prompt_last.to(logits.device)
                last = logits[torch.arange(len(part), device=logits.device), ends]
                said += [str(tokenizer.decode([int(number)])) for number in last.argmax(-1)]
    finally:
        model.train(was_training)
    return [text.strip() for text in said]
