from __future__ import annotations

import json
from typing import Any

import pytest

from memedit.memory import EditMemory
from tests.serving.parts import ASKED, ATLANTIS, UNRELATED, chat
from tests.serving.raw_client import RawClient
from tests.serving.raw_upstream import RawUpstream
from tests.serving.served import Answer, Serve, Served

EDITS = "/memedit/v1/edits"
ATLANTIS_JSON = ATLANTIS.model_dump(mode="json", exclude_defaults=True)


def assert_error(answer: Answer, status: int, code: str) -> str:
    assert answer.status == status, answer.body
    assert set(answer.json) == {"error"}
    assert answer.json["error"]["code"] == code
    message = answer.json["error"]["message"]
    assert isinstance(message, str)
    return message


def test_the_life_of_an_edit_from_the_first_answer_to_its_retraction(
    proxy: Served, upstream: RawUpstream
) -> None:
    def asked() -> bytes:
        answer = proxy.post("/v1/chat/completions", chat(ASKED))
        sent = upstream.last(b"/v1/chat/completions").body
        touched = sent != json.dumps(chat(ASKED)).encode()
        assert (answer.header("x-memedit-route") == "in_context") is touched
        return sent

    assert b"Nautilopolis" not in asked()

    added = proxy.post(EDITS, {"edits": [ATLANTIS_JSON], "author": "an editor"})
    assert added.status == 201
    (first,) = added.json["edits"]
    assert first["version"] == 1
    assert first["namespace"] == "default"
    assert b"Nautilopolis" in asked(), "live for the very next request"

    listed = proxy.ask("GET", EDITS).json
    assert [edit["id"] for edit in listed["edits"]] == [first["id"]]
    assert listed["next"] is None

    newer = {**ATLANTIS_JSON, "target_new": "Kelpburgh"}
    body = json.dumps({"request": newer, "author": "another"}).encode()
    kind = {"content-type": "application/json"}
    second = proxy.ask("PUT", f"{EDITS}/{first['id']}", body, kind).json
    assert (second["id"], second["version"]) == (first["id"], 2)
    assert second["supersedes"] == f"{first['id']}@1"
    assert b"Kelpburgh" in asked()
    assert b"Nautilopolis" not in asked()

    old = proxy.ask("GET", f"{EDITS}/{first['id']}?version=1").json
    assert old["request"]["target_new"] == "Nautilopolis"
    assert proxy.ask("GET", f"{EDITS}/{first['id']}@1").json == old

    retracted = proxy.ask("DELETE", f"{EDITS}/{first['id']}?author=a+third")
    assert retracted.status == 200
    assert retracted.json["status"] == "retracted"
    assert asked() == json.dumps(chat(ASKED)).encode()
    assert proxy.ask("GET", EDITS).json["edits"] == []
    assert len(proxy.ask("GET", f"{EDITS}?status=retracted").json["edits"]) == 1

    history = proxy.ask("GET", f"{EDITS}/{first['id']}/history").json["edits"]
    assert [edit["version"] for edit in history][:2] == [1, 2]
    assert history[-1]["status"] == "retracted"

    assert_error(proxy.ask("DELETE", f"{EDITS}/{first['id']}"), 409, "conflict")
    assert_error(proxy.ask("PUT", f"{EDITS}/{first['id']}", body, kind), 409, "conflict")


def test_namespaces_are_apart(proxy: Served, upstream: RawUpstream) -> None:
    proxy.post(EDITS, {"edits": [ATLANTIS_JSON], "namespace": "tenant-a"})
    for namespace, route in (("tenant-a", "in_context"), ("tenant-b", "pass"), (None, "pass")):
        headers = {"content-type": "application/json"}
        if namespace:
            headers["x-memedit-namespace"] = namespace
        body = json.dumps(chat(ASKED)).encode()
        answer = proxy.ask("POST", "/v1/chat/completions", body, headers)
        assert answer.header("x-memedit-route") == route
    assert proxy.ask("GET", "/memedit/v1/namespaces").json == {"namespaces": {"tenant-a": 1}}
    assert len(proxy.ask("GET", f"{EDITS}?namespace=tenant-a").json["edits"]) == 1
    assert proxy.ask("GET", f"{EDITS}?namespace=tenant-b").json["edits"] == []


def test_a_listing_goes_page_by_page(proxy: Served) -> None:
    edits = [{**ATLANTIS_JSON, "target_new": f"Reef {n}"} for n in range(7)]
    added = proxy.post(EDITS, {"edits": edits}).json["edits"]
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        query = f"?limit=3&after={after}" if after else "?limit=3"
        page = proxy.ask("GET", EDITS + query).json
        assert len(page["edits"]) <= 3
        seen += [edit["id"] for edit in page["edits"]]
        after = page["next"]
    assert seen == sorted(edit["id"] for edit in added)


def test_search_and_dry_run_show_what_a_request_would_meet(
    proxy: Served, upstream: RawUpstream
) -> None:
    proxy.post(EDITS, {"edits": [ATLANTIS_JSON]})
    (hit,) = proxy.ask("GET", "/memedit/v1/search?q=the+capital+of+Atlantis&k=3").json["candidates"]
    assert hit["edit"]["request"]["target_new"] == "Nautilopolis"
    assert 0.5 < hit["similarity"] <= 1.0001
    question = {"prompts": [ASKED, [{"role": "user", "content": ASKED}], UNRELATED]}
    routes = proxy.post("/memedit/v1/route", question).json["routes"]
    assert [route["action"] for route in routes] == ["in_context", "in_context", "pass"]
    assert routes[0]["considered"][0]["probabilities"]["direct"] > 0.6
    alone = proxy.post("/memedit/v1/route", {"messages": question["prompts"][1]}).json["routes"]
    assert alone == [routes[1]]
    never = proxy.post("/memedit/v1/route", {"prompts": [ASKED + " so"], "threshold": 1.0}).json
    assert never["routes"][0]["action"] == "pass"
    assert upstream.requests == []
    stats = proxy.ask("GET", "/memedit/v1/stats").json
    assert stats["edits"]["live"] == 1


@pytest.mark.parametrize(
    ("method", "target", "value", "status", "code", "says"),
    [
        ("GET", "/memedit/v1/edits/e-nothing", None, 404, "not_found", "e-nothing"),
        ("DELETE", "/memedit/v1/edits/e-nothing", None, 404, "not_found", "e-nothing"),
        ("GET", "/memedit/v1/edits/e-nothing/history", None, 404, "not_found", "e-nothing"),
        ("GET", "/memedit/v1/nothing", None, 404, "not_found", "nothing"),
        ("GET", "/memedit/nothing", None, 404, "not_found", "nothing"),
        ("PATCH", "/memedit/v1/edits", {}, 405, "method_not_allowed", "PATCH"),
        ("POST", EDITS, {"edits": []}, 422, "invalid_input", "edits"),
        ("POST", EDITS, {"edits": [{"prompt": "x"}]}, 422, "invalid_input", "subject"),
        ("POST", EDITS, {"edits": "x"}, 422, "invalid_input", "list"),
        ("POST", EDITS, [], 422, "invalid_input", "body"),
        ("POST", EDITS, {"edits": [], "extra": 1}, 422, "invalid_input", "extra"),
        (
            "POST",
            EDITS,
            {"edits": [ATLANTIS_JSON], "namespace": "?"},
            422,
            "invalid_input",
            "names",
        ),
        ("GET", f"{EDITS}?limit=0", None, 422, "invalid_input", "limit"),
        ("GET", f"{EDITS}?status=odd", None, 422, "invalid_input", "status"),
        ("POST", "/memedit/v1/route", {}, 422, "invalid_input", "prompts or messages"),
        ("POST", "/memedit/v1/route", {"messages": [{}]}, 400, "invalid_input", "messages"),
    ],
)
def test_an_error_says_what_was_wrong(
    proxy: Served, method: str, target: str, value: Any, status: int, code: str, says: str
) -> None:
    body = None if value is None else json.dumps(value).encode()
    answer = proxy.ask(method, target, body, {"content-type": "application/json"})
    assert says in assert_error(answer, status, code)


def test_nothing_is_stored_unless_all_of_it_is(proxy: Served, memory: EditMemory) -> None:
    answer = proxy.post(EDITS, {"edits": [ATLANTIS_JSON, {**ATLANTIS_JSON, "subject": ""}]})
    assert_error(answer, 422, "invalid_input")
    assert memory.list() == []


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
def test_only_json_that_says_so_is_taken(
    proxy: Served, memory: EditMemory, kind: str | None
) -> None:
    body = json.dumps({"edits": [ATLANTIS_JSON]}).encode()
    answer = proxy.ask("POST", EDITS, body, {} if kind is None else {"content-type": kind})
    assert "application/json" in assert_error(answer, 415, "unsupported_media_type")
    assert memory.list() == []


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"null", b'{"edits":NaN}', b"[" * 9_999])
def test_malformed_bodies_are_told_apart_from_failures(proxy: Served, body: bytes) -> None:
    answer = proxy.ask("POST", EDITS, body, {"content-type": "application/json"})
    said = assert_error(answer, 400 if body[:1] in (b"\xff", b"[") else 422, "invalid_input")
    assert "this is no JSON" in said or body != b"{"


def test_a_body_that_is_too_long(serve: Serve) -> None:
    answer = serve(max_body_bytes=100).post(EDITS, {"edits": [ATLANTIS_JSON]})
    assert_error(answer, 413, "body_too_large")


def test_a_memory_that_fails_is_a_503(
    proxy: Served, memory: EditMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.close()
    assert_error(proxy.post(EDITS, {"edits": [ATLANTIS_JSON]}), 503, "memory_unavailable")
    assert_error(proxy.ask("GET", EDITS), 503, "memory_unavailable")


def test_a_defect_is_a_500_without_its_details(
    proxy: Served, memory: EditMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("what the prompt said")

    monkeypatch.setattr(memory, "list", fail)
    answer = proxy.ask("GET", EDITS)
    assert_error(answer, 500, "memedit_error")
    assert b"prompt" not in answer.body


def test_keys_guard_each_door_of_its_own(serve: Serve, upstream: RawUpstream) -> None:
    proxy = serve(admin_keys=("admin",), inference_keys=("ask",), upstream_api_key="theirs")
    doors = {
        ("GET", EDITS): "admin",
        ("GET", "/memedit/v1/openapi.json"): "admin",
        ("POST", "/v1/chat/completions"): "ask",
        ("POST", "/v1/messages"): "ask",
        ("GET", "/v1/models"): "ask",
        ("POST", "/tokenize"): "ask",
    }
    for (method, target), right in doors.items():
        for key in (None, "admin", "ask", "theirs"):
            for name, value in (("authorization", f"Bearer {key}"), ("x-api-key", str(key))):
                sent = len(upstream.requests)
                headers = {"content-type": "application/json"} | ({name: value} if key else {})
                answer = proxy.ask(method, target, b"{}" if method == "POST" else None, headers)
                assert answer.status == (200 if key == right else 401), (target, key)
                if answer.status == 401:
                    assert answer.header("www-authenticate") == "Bearer"
                    assert len(upstream.requests) == sent
                elif target.startswith(("/v1", "/tok")):
                    assert upstream.last().header(b"authorization") == b"Bearer theirs"
                    assert b"ask" not in upstream.last().head.replace(b"task", b"")
    for target in ("/healthz", "/readyz", "/health", "/ping"):
        assert proxy.ask("GET", target).status == 200
    assert proxy.ask("OPTIONS", "/v1/chat/completions").status == 200
    assert proxy.ask("GET", "/metrics").status == 401
    assert proxy.ask("GET", "/metrics", None, {"authorization": "Bearer admin"}).status == 200


def test_a_rebound_name_does_not_reach_the_edit_api(proxy: Served) -> None:
    with RawClient(proxy.port) as client:
        client.send(b"GET /memedit/v1/edits HTTP/1.1\r\nhost: rebound.example\r\n\r\n")
        assert client.until(b"}}").startswith(b"HTTP/1.1 403")
    # Nor does a second Host header beside a good one.
    answer = proxy.ask("GET", EDITS, None, {"host": "rebound.example"})
    assert "admin_keys" in assert_error(answer, 403, "foreign_host")


def test_the_openapi_document_names_every_route_with_examples(proxy: Served) -> None:
    document = proxy.ask("GET", "/memedit/v1/openapi.json").json
    assert set(document["paths"]) == {
        EDITS,
        EDITS + "/{edit_id}",
        EDITS + "/{edit_id}/history",
        "/memedit/v1/search",
        "/memedit/v1/route",
        "/memedit/v1/stats",
        "/memedit/v1/namespaces",
    }
    add = document["paths"][EDITS]["post"]
    examples = add["requestBody"]["content"]["application/json"]["examples"]
    for example in examples.values():
        assert proxy.post(EDITS, example["value"]).status == 201
    assert document["components"]["securitySchemes"]


def test_contradictions_are_said_and_settled_as_asked(proxy: Served) -> None:
    (first,) = proxy.post(EDITS, {"edits": [ATLANTIS_JSON]}).json["edits"]
    other = {**ATLANTIS_JSON, "target_new": "Kelpburgh"}
    refused = proxy.post(EDITS, {"edits": [other], "on_conflict": "reject"})
    assert f"{first['id']}@1" in assert_error(refused, 409, "conflict")
    kept = proxy.post(EDITS, {"edits": [other]}).json
    assert kept["conflicts"] == [
        {
            "edit": f"{kept['edits'][0]['id']}@1",
            "against": f"{first['id']}@1",
            "kind": "same_prompt",
            "probability": None,
            "through": [],
            "outcome": "kept",
        }
    ]
    turned = {"prompt": "Tidemark is the capital of", "subject": "Tidemark", "target_new": "Ys"}
    owner = {"prompt": "The capital of Kelp is", "subject": "Kelp", "target_new": "Tidemark"}
    [said] = proxy.post(EDITS, {"edits": [turned, owner]}).json["conflicts"]
    assert said["kind"] == "inverse" and said["outcome"] == "kept"
    last = {**ATLANTIS_JSON, "target_new": "Coralford"}
    settled = proxy.post(EDITS, {"edits": [last], "on_conflict": "supersede"}).json
    assert {one["outcome"] for one in settled["conflicts"]} == {"superseded", "retracted"}
    assert len(proxy.ask("GET", EDITS).json["edits"]) == 3
    wrong = proxy.post(EDITS, {"edits": [last], "on_conflict": "ask"})
    assert "on_conflict" in assert_error(wrong, 422, "invalid_input")
