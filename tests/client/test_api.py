"""The clients of the edit API against a real proxy."""

from __future__ import annotations

import asyncio
import inspect
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

import memedit
from memedit import EditRequest
from memedit.client import calls
from memedit.errors import (
    AccessError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from memedit.types import Action, Operation, ScopeLabel, Status
from tests.client.conftest import ASKED, CAPITAL, RIVER, UNRELATED
from tests.live_server import LiveServer


def test_an_edit_from_birth_to_retraction(client: memedit.Client) -> None:
    born = datetime.now(UTC) - timedelta(days=1)
    [edit] = client.add([CAPITAL], author="ann", valid_from=born)
    assert edit.request == CAPITAL
    assert (edit.version, edit.status, edit.author) == (1, Status.LIVE, "ann")
    assert edit.valid_from == born
    assert client.get(edit.id) == edit
    assert client.get(edit.ref) == edit

    moved = CAPITAL.model_copy(update={"target_new": "Velden"})
    newer = client.supersede(edit.id, moved, author="ben")
    assert (newer.id, newer.version, newer.supersedes) == (edit.id, 2, edit.ref)
    assert client.get(edit.id).request.target_new == "Velden"
    assert client.get(edit.id, version=1).request.target_new == "Lindhaven"

    gone = client.retract(edit.id, author="cem")
    assert gone.status is Status.RETRACTED
    assert [version.request.target_new for version in client.history(edit.id)][:2] == [
        "Lindhaven",
        "Velden",
    ]
    assert list(client.list()) == []
    assert edit.id in {kept.id for kept in client.list(status=None)}


def test_every_field_of_a_request_survives(client: memedit.Client) -> None:
    rich = EditRequest(
        prompt="Where does the river Tamsin begin?",
        subject="river Tamsin",
        target_new="In the hills of Brand ☃",
        ground_truth="In the sea",
        operation=Operation.INSERT,
        statement='The river Tamsin begins in "Brand".',
        rephrases=("The Tamsin's source is", "source of the Tamsin?"),
        aliases=("Tamsin", "the Tamsin"),
    )
    [edit] = client.add([rich], namespace="rivers/all")
    assert client.get(edit.id).request == rich
    assert edit.namespace == "rivers/all"


def test_listing_walks_through_all_pages(
    client: memedit.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "PAGE", 3)
    requests = [
        EditRequest(prompt=f"The height of hill {n} is", subject=f"hill {n}", target_new=f"{n} m")
        for n in range(7)
    ]
    added = client.add(requests, namespace="hills")
    client.add([CAPITAL])
    assert {edit.id for edit in client.list(namespace="hills")} == {edit.id for edit in added}
    assert len(list(client.list(namespace="hills"))) == 7
    assert len(list(client.list())) == 8
    assert client.namespaces() == {"hills": 7, "default": 1}


def test_search_and_route_say_what_they_found(client: memedit.Client) -> None:
    [capital, river] = client.add([CAPITAL, RIVER])
    hits = client.search(ASKED, k=2)
    assert [hit.edit.id for hit in hits] == [capital.id, river.id]
    assert hits[0].similarity > hits[1].similarity

    asked, unrelated = client.route([ASKED, UNRELATED])
    assert asked.action is Action.IN_CONTEXT
    assert asked.edits == (capital.ref,)
    assert asked.considered[0].scope is ScopeLabel.DIRECT
    total = asked.considered[0].probabilities
    assert total.direct + total.dependent + total.unrelated == pytest.approx(1, abs=1e-5)
    assert (unrelated.action, unrelated.edits) == (Action.PASS, ())
    [never] = client.route([UNRELATED], threshold=0.0)
    assert never.edits, "with threshold 0 every candidate fires"

    turns = [{"role": "user", "content": "Hello!"}, {"role": "user", "content": ASKED}]
    talk, text = client.route([turns, UNRELATED])
    assert (talk.edits, text.edits) == ((capital.ref,), ())


def test_stats_count_edits(client: memedit.Client) -> None:
    before = client.stats()
    client.add([CAPITAL])
    assert client.stats() != before


def test_errors_arrive_as_the_class_that_was_raised(client: memedit.Client) -> None:
    with pytest.raises(NotFoundError, match="e-000000000000"):
        client.get("e-000000000000")
    [edit] = client.add([CAPITAL])
    client.retract(edit.id)
    with pytest.raises(ConflictError):
        client.retract(edit.id)
    with pytest.raises(InvalidInputError, match="namespace"):
        client.add([CAPITAL], namespace="no spaces allowed")
    with pytest.raises(InvalidInputError):
        client.add([])


def test_keys(guarded_proxy: LiveServer) -> None:
    with memedit.Client(guarded_proxy.url) as stranger, pytest.raises(AccessError, match="key"):
        stranger.stats()
    with memedit.Client(guarded_proxy.url + "/v1/", api_key="letmein") as friend:
        assert list(friend.list()) == []


def test_a_server_that_is_none_of_ours_is_named() -> None:
    def other(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(404 if "stats" in request.url.path else 200, text="<html>")

    with memedit.Client(transport=httpx2.MockTransport(other)) as client:
        with pytest.raises(UpstreamError, match="memedit proxy"):
            client.stats()
        with pytest.raises(UpstreamError, match="memedit proxy"):
            client.namespaces()


def test_unreachable_and_slow_servers_are_told_apart() -> None:
    def slow(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadTimeout("too slow", request=request)

    with (
        memedit.Client("http://127.0.0.1:9") as client,
        pytest.raises(UpstreamUnreachable, match="memedit serve"),
    ):
        client.stats()
    with (
        memedit.Client(transport=httpx2.MockTransport(slow)) as client,
        pytest.raises(UpstreamTimeout, match="ReadTimeout"),
    ):
        client.stats()


def test_the_async_client_does_the_same(proxy: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "PAGE", 1)

    async def whole_life() -> None:
        async with memedit.AsyncClient(proxy.url) as client:
            [capital, river] = await client.add([CAPITAL, RIVER])
            assert {edit.id async for edit in client.list()} == {capital.id, river.id}
            assert (await client.search(ASKED, k=1))[0].edit == capital
            [route] = await client.route([ASKED])
            assert route.edits == (capital.ref,)
            await client.retract(capital.id)
            with pytest.raises(ConflictError):
                await client.retract(capital.id)

    asyncio.run(whole_life())


def test_both_clients_offer_the_same_methods() -> None:
    def offered(kind: type) -> dict[str, list[str]]:
        return {
            name: [parameter for parameter in inspect.signature(method).parameters]
            for name, method in vars(kind).items()
            if not name.startswith("_") and name not in ("close", "aclose")
        }

    assert offered(memedit.Client) == offered(memedit.AsyncClient)


@pytest.mark.parametrize("given", ["text", ["text"], [{"prompt": "x"}]])
def test_what_is_no_list_of_requests_is_refused_before_it_is_sent(given: Any) -> None:
    with memedit.Client("http://127.0.0.1:9") as client:
        with pytest.raises(InvalidInputError, match="add takes a list of EditRequest objects"):
            client.add(given)
        with pytest.raises(InvalidInputError, match="got EditRequest"):
            client.add(memedit.EditRequest(prompt="p", subject="s", target_new="t"))  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match=r"write route\(\[text\]\)"):
            client.route("text")


def test_contradictions_come_back_with_what_was_added(client: memedit.Client) -> None:
    [old] = client.add([CAPITAL])
    moved = CAPITAL.model_copy(update={"target_new": "Velden"})
    [said] = client.add([moved], on_conflict="keep").conflicts
    assert (said.against, said.outcome) == (old.ref, "kept")
    with pytest.raises(ConflictError, match="nothing was stored"):
        client.add([CAPITAL.model_copy(update={"target_new": "Ost"})], on_conflict="reject")


def test_feedback_is_an_edit_like_any_other_and_needs_no_subject(client: memedit.Client) -> None:
    edit = client.feedback(ASKED, "No: it is Lindhaven, since the move", author="reader")
    assert edit.request == EditRequest(
        prompt=ASKED,
        subject=ASKED,
        target_new="No: it is Lindhaven, since the move",
        statement="No: it is Lindhaven, since the move",
    )
    [route] = client.route([ASKED])
    assert route.edits == (edit.ref,)
    named = client.feedback("Who leads Marovia?", "Iva Brand leads it.", subject="Marovia")
    assert client.get(named.id).request.subject == "Marovia"
    with pytest.raises(ConflictError, match="nothing was stored"):
        client.feedback(ASKED, "It is Velden.", on_conflict="reject")
    assert client.retract(edit.id).status is Status.RETRACTED
    with pytest.raises(InvalidInputError, match=r"this is no feedback: target_new: .* at least 1"):
        client.feedback(ASKED, "  ")
