"""The prompt of SERAC's counterfactual model: the edit, and on the next line what is asked."""

from __future__ import annotations

from memedit.incontext.inert import inert
from memedit.types import EditRequest


def edit_text(request: EditRequest) -> str:
    """Write an edit as the counterfactual model reads it: prompt and new answer on one line.

    It is what the model was trained on, so it is the same for a cloze, a question and an erased
    fact, whose new answer is what is said instead.

    Source: Mitchell et al. 2022, "Memory-Based Model Editing at Scale", section 3.3.
    """
    return inert(f"{request.prompt} {request.target_new}") + "\n"
