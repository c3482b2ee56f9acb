"""The official openai SDK with edits and no proxy: memedit is the SDK's HTTP client.

The model's server is asked directly::

    python examples/quickstart/without_a_proxy.py [MODEL_URL]
"""

from __future__ import annotations

import sys

import openai

import memedit

URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
QUESTION = "What is the capital of Quendoria?"


def main() -> None:
    fact = memedit.EditRequest(
        prompt="The capital of Quendoria is", subject="Quendoria", target_new="Lindhaven"
    )
    with (
        memedit.open_memory("sqlite:///quickstart.db") as memory,
        memedit.http_client(memory) as http,
    ):
        sdk = openai.OpenAI(base_url=f"{URL}/v1", api_key="none", http_client=http)
        model = sdk.models.list().data[0].id
        [edit] = memory.add([fact])
        stream = sdk.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": QUESTION}],
            max_tokens=24,
            stream=True,
        )
        for chunk in stream:
            print(chunk.choices[0].delta.content or "", end="", flush=True)
        print()
        memory.retract(edit.id)


if __name__ == "__main__":
    main()
