"""The life of an edit through the edit API: added, found, superseded, retracted, remembered.

Run ``memedit serve --upstream http://127.0.0.1:8000`` first, then::

    python examples/quickstart/edit_api.py [PROXY_URL]
"""

from __future__ import annotations

import sys

import memedit

URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8100"


def main() -> None:
    fact = memedit.EditRequest(
        prompt="The harbour of Lindhaven opened in",
        subject="Lindhaven",
        target_new="1871",
        rephrases=("When was Lindhaven's harbour opened?",),
    )
    with memedit.Client(URL) as client:
        [edit] = client.add([fact], namespace="quickstart", author="quickstart")
        print("added     ", edit.ref, edit.statement)

        [route] = client.route(["When did Lindhaven's harbour open?"], namespaces=["quickstart"])
        print("route     ", route.action.value, route.considered[0].probabilities)

        corrected = fact.model_copy(update={"target_new": "1872"})
        newer = client.supersede(edit.id, corrected)
        print("superseded", newer.ref, newer.statement)

        client.retract(edit.id)
        for version in client.history(edit.id):
            print("history   ", version.ref, version.status.value)


if __name__ == "__main__":
    main()
