"""Many clients at once, on all formats, while edits come and go."""

from __future__ import annotations

import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor

from tests.e2e.facts import UNRELATED
from tests.e2e.relay import Relay
from tests.e2e.stack import Proxy
from tests.e2e.wires import CHAT, COMPLETIONS, WIRES, post, send

COUNTRIES = {
    "Valdoria": "Port Amsel",
    "Kestrelia": "Umberfall",
    "Nimbria": "Tallowgate",
    "Ostrava Reach": "Quillhaven",
    "Merrowland": "Saltspire",
    "Tharn": "Glimmerdeep",
}
REQUESTS = 240


def _fact(country: str) -> dict[str, str]:
    cloze = f"The capital of {country} is"
    return {"prompt": cloze, "subject": country, "target_new": COUNTRIES[country]}


def test_mixed_traffic_is_not_mixed_up(proxy: Proxy, relay: Relay, namespace: str) -> None:
    """Every answer belongs to its question, and every question gets its own edit and no other."""
    ids = dict(zip(COUNTRIES, proxy.add(*map(_fact, COUNTRIES), namespace=namespace), strict=True))
    rng = random.Random(3)
    jobs = []
    for number in range(REQUESTS):
        wire, country = rng.choice(WIRES), rng.choice([*COUNTRIES, None, None])
        form = "The capital of {} is" if wire is COMPLETIONS else "What is the capital of {}?"
        question = rng.choice(UNRELATED) if country is None else form.format(country)
        jobs.append((number, wire, country, question, rng.random() < 0.5))

    def ask(job: tuple[int, object, str | None, str, bool]) -> None:
        number, wire, country, question, stream = jobs[job[0]]
        body = wire.body(question, tokens=2, stream=stream)
        mark = f"{namespace}-{number}"
        answer = post(proxy.url, wire.path, body, x_mark=mark, x_memedit_namespace=namespace)
        assert answer.status == 200, answer.body
        wanted = [] if country is None else [f"{ids[country]}@1"]
        assert answer.edits == wanted, (question, answer.headers)

    stop = threading.Event()

    def churn() -> None:
        """Add and retract edits of another namespace all the while."""
        while not stop.is_set():
            [edit] = proxy.add(_fact("Valdoria"), namespace=f"{namespace}-other")
            proxy.retract(edit)

    writer = threading.Thread(target=churn)
    writer.start()
    try:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(ask, jobs))
    finally:
        stop.set()
        writer.join(30)
    bodies = relay.bodies("x-mark")
    for number, _, country, question, _ in jobs:
        seen = json.dumps(json.loads(bodies[f"{namespace}-{number}"]))
        told = {name for name, capital in COUNTRIES.items() if capital in seen}
        assert told == ({country} if country else set()), question


def test_one_address_for_the_metrics_of_both(proxy: Proxy, namespace: str) -> None:
    proxy.add(_fact("Tharn"), namespace=namespace)
    question = "What is the capital of Tharn?"
    _, answer = CHAT.ask(proxy.url, question, tokens=1, x_memedit_namespace=namespace)
    assert answer.route == "in_context"
    text = send(proxy.url, "GET", "/metrics").body.decode()
    for name in ("vllm:num_requests_running", "memedit_requests_total", "memedit_edits_live"):
        assert f"\n{name}{{" in text
