"""The official openai SDK through memedit's proxy: only the base URL changes.

Run ``memedit serve --upstream http://127.0.0.1:8000`` first, then::

    python examples/quickstart/through_the_proxy.py [PROXY_URL]
"""

from __future__ import annotations

import sys

import openai

import memedit

URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8100"
QUESTION = "What is the capital of Quendoria?"


def main() -> None:
    fact = memedit.EditRequest(
        prompt="The capital of Quendoria is", subject="Quendoria", target_new="Lindhaven"
    )
    with openai.OpenAI(base_url=f"{URL}/v1", api_key="none") as sdk, memedit.Client(URL) as client:
        model = sdk.models.list().data[0].id

        def ask() -> None:
            reply = sdk.chat.completions.with_raw_response.create(
                model=model, messages=[{"role": "user", "content": QUESTION}], max_tokens=24
            )
            route = reply.headers["x-memedit-route"]
            print(f"[{route}] {reply.parse().choices[0].message.content}")

        ask()
        [edit] = client.add([fact])
        ask()
        client.retract(edit.id)
        ask()


if __name__ == "__main__":
    main()
