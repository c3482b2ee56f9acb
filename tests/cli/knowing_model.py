"""A served model that knows one country's capital, and believes what its prompt tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.client.toy_model import Received, Send, ToyModel, _chat, _reply

SCENES: dict[str, Any] = {
    "scenes": [
        {
            "name": "A capital moves",
            "edit": {
                "prompt": "The capital of Quendoria is",
                "subject": "Quendoria",
                "target_new": "Lindhaven",
                "ground_truth": "Oldcastle",
            },
            "questions": [
                {
                    "kind": "edited",
                    "ask": "What is the capital of Quendoria?",
                    "before": "Oldcastle",
                    "after": "Lindhaven",
                },
                {
                    "kind": "paraphrase",
                    "ask": "Which city is Quendoria's capital?",
                    "before": "Oldcastle",
                    "after": "Lindhaven",
                },
                {
                    "kind": "unrelated",
                    "ask": "How many legs does a spider have?",
                    "before": "Eight",
                    "after": "Eight",
                },
            ],
        }
    ]
}


@dataclass
class KnowingModel(ToyModel):
    """``stubborn`` does not believe its prompt; ``forgetful`` answers otherwise every time."""

    stubborn: bool = False
    forgetful: bool = False

    async def _answer(self, request: Received, send: Send) -> None:
        if request.path == "/health":
            await _reply(send, 200, {})
            return
        if not request.path.endswith("/v1/chat/completions"):
            await super()._answer(request, send)
            return
        prompt = str(request.json["messages"][-1]["content"])
        answer = "Eight." if "spider" in prompt else "It is Oldcastle."
        if "Lindhaven" in prompt and not self.stubborn:
            answer = "It is Lindhaven."
        if self.forgetful:
            answer += f" ({len(self.received)})"
        await _chat(send, answer)
