"""What no edit concerns goes through byte for byte, in both directions."""

from __future__ import annotations

import gzip
import json
import random

import pytest

from memedit.memory import EditMemory
from tests.serving.parts import ATLANTIS, UNRELATED
from tests.serving.raw_client import RawClient
from tests.serving.raw_upstream import RawUpstream, chunked, whole
from tests.serving.served import Served

PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages")


def odd_body(number: int, path: str) -> bytes:
    """Write a valid body of the format in a way that no JSON library would write it again."""
    draw = random.Random(number)
    words = f"{UNRELATED} {number} " + draw.choice(
        ["ünïcode \u2028", "\\u0041\\ud83d\\ude00", "日本"]
    )
    ask = {
        "/v1/chat/completions": '"messages" : [ {"role":"user","content": "WORDS"} ]',
        "/v1/completions": '"prompt":["WORDS", "WORDS"]',
        "/v1/responses": '"input":\t"WORDS"',
        "/v1/messages": '"messages":[{"content":[{"type":"text","text":"WORDS"}],"role":"user"}]',
    }[path].replace("WORDS", words)
    extras = [
        '"model":"m"',
        '"temperature":1.0e0',
        '"seed":18446744073709551616',
        '"unknown_field":{"b":1,"a":[null,true,1.50]}',
        '"unknown_field":"twice"',
        '"stream":' + draw.choice(["true", "false"]),
        '"max_tokens":16',
        ask,
    ]
    draw.shuffle(extras)
    space = draw.choice(["", " ", "\n  ", "\r\n\t"])
    text = "{" + space + ("," + space).join(extras) + space + "}" + draw.choice(["", "\n", "  "])
    return text.encode()


@pytest.fixture
def edited(memory: EditMemory) -> EditMemory:
    """Make sure that requests are really looked at: there is a live edit."""
    memory.add([ATLANTIS])
    return memory


def test_500_untouched_requests_of_all_formats_arrive_and_return_byte_for_byte(
    proxy: Served, upstream: RawUpstream, edited: EditMemory
) -> None:
    draw = random.Random(7)
    for number in range(500):
        path = PATHS[number % 4]
        body = odd_body(number, path)
        answer = bytes(draw.randrange(256) for _ in range(draw.randrange(1, 400)))
        packed = number % 3 == 0
        headers = [b"content-type: application/json", b"set-cookie: a=1", b"set-cookie: b=2"]
        if packed:
            answer = gzip.compress(answer)
            headers.append(b"content-encoding: gzip")
        if number % 2:
            cuts = sorted(draw.randrange(len(answer)) for _ in range(3))
            pieces = [answer[a:b] for a, b in zip([0, *cuts], [*cuts, len(answer)], strict=True)]
            upstream.default = chunked([piece for piece in pieces if piece], headers)
        else:
            upstream.default = whole(answer, headers=headers)
        got = proxy.ask(
            "POST",
            path + ("?trace=%41&x=a+b" if number % 5 == 0 else ""),
            body,
            {"content-type": "application/json", "accept-encoding": "gzip"},
        )
        assert upstream.requests[-1].body == body
        assert got.body == answer
        assert got.status == 200
        assert got.header("x-memedit-route") == "pass"
        assert [value for name, value in got.headers if name == "set-cookie"] == ["a=1", "b=2"]
        assert (got.header("content-encoding") == "gzip") is packed
        if not number % 2:
            assert got.header("content-length") == str(len(answer))
    assert len(upstream.requests) == 500


def test_the_head_arrives_as_it_was_sent(proxy: Served, upstream: RawUpstream) -> None:
    proxy.ask(
        "POST",
        "/v1/completions?a=%2F&b=%C3%A9&c",
        b"{}",
        [
            ("content-type", "application/json; charset=utf-8"),
            ("authorization", "Bearer of-the-client"),
            ("x-custom", "one"),
            ("x-custom", "two"),
            ("user-agent", "a client/1"),
            ("traceparent", "00-abc-def-01"),
            ("cookie", "session=1"),
            ("connection", "keep-alive, x-private"),
            ("x-private", "between you and me"),
            ("te", "trailers"),
            ("proxy-authorization", "secret"),
            ("x-memedit-bypass", "1"),
        ],
    )
    request = upstream.last()
    assert request.target == b"/v1/completions?a=%2F&b=%C3%A9&c"
    assert sorted(request.headers) == [
        (b"authorization", b"Bearer of-the-client"),
        (b"content-length", b"2"),
        (b"content-type", b"application/json; charset=utf-8"),
        (b"cookie", b"session=1"),
        (b"host", f"127.0.0.1:{upstream.port}".encode()),
        (b"traceparent", b"00-abc-def-01"),
        (b"user-agent", b"a client/1"),
        (b"x-custom", b"one"),
        (b"x-custom", b"two"),
    ]


def test_nothing_is_added_to_an_answer_but_our_own_headers(
    proxy: Served, upstream: RawUpstream
) -> None:
    upstream.default = whole(
        b"{}",
        status=b"418 I'm a teapot",
        headers=[
            b"Content-Type: application/json",
            b"Date: Thu, 01 Jan 2026 00:00:00 GMT",
            b"Server: upstream",
            b"X-Memedit-Route: forged",
            b"Connection: x-hop",
            b"X-Hop: 1",
            b"Keep-Alive: timeout=5",
        ],
    )
    got = proxy.post("/v1/chat/completions", {"messages": []})
    assert got.status == 418
    ours = [(name, value) for name, value in got.headers if name.startswith("x-memedit-")]
    assert ("x-memedit-route", "pass") in ours
    assert all(value != "forged" for _, value in ours)
    assert [pair for pair in got.headers if pair not in ours] == [
        ("content-type", "application/json"),
        ("date", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("server", "upstream"),
        ("content-length", "2"),
    ]


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/v1/models"),
        ("GET", "/v1/models/acme%2Fllama"),
        ("HEAD", "/v1/models"),
        ("OPTIONS", "/v1/chat/completions"),
        ("GET", "/v1/responses/resp_1?include=x"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("DELETE", "/v1/files/f"),
        ("POST", "/v1/messages/count_tokens"),
        ("POST", "/v1/embeddings"),
        ("POST", "/tokenize"),
        ("POST", "/detokenize"),
        ("GET", "/health"),
        ("GET", "/version"),
        ("GET", "/ping"),
        ("GET", "/load"),
    ],
)
def test_everything_else_of_the_public_surface_is_forwarded(
    proxy: Served, upstream: RawUpstream, method: str, target: str
) -> None:
    body = b"\x00any bytes\xff" if method == "POST" else None
    got = proxy.ask(method, target, body)
    request = upstream.last()
    assert (request.method, request.target) == (method, target.encode())
    assert request.body == (body or b"")
    assert got.status == 200
    assert got.body == (b"" if method == "HEAD" else b'{"ok":true}')
    assert got.header("content-length") == "11"
    assert not [name for name, _ in got.headers if name.startswith("x-memedit")]


def test_what_generates_in_a_format_that_is_not_read_says_so(
    proxy: Served, upstream: RawUpstream
) -> None:
    got = proxy.post("/v1/chat/completions/batch", {"messages": [[]]})
    assert got.status == 200
    assert got.header("x-memedit-route") == "pass"
    assert got.header("x-memedit-reason") == "not_read"


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_answers_without_a_body(proxy: Served, upstream: RawUpstream, status: bytes) -> None:
    async def script(request: object, writer: object) -> None:
        writer.write(b"HTTP/1.1 " + status + b"\r\netag: x\r\n\r\n")  # type: ignore[attr-defined]

    upstream.default = script
    got = proxy.ask("GET", "/v1/models")
    assert (str(got.status).encode(), got.body, got.header("etag")) == (status[:3], b"", "x")


def test_redirects_are_passed_on_not_followed(proxy: Served, upstream: RawUpstream) -> None:
    upstream.default = whole(b"", b"307 Temporary Redirect", [b"location: /pause"])
    got = proxy.ask("GET", "/v1/models")
    assert (got.status, got.header("location")) == (307, "/pause")
    assert len(upstream.requests) == 1


def test_large_bodies_pass_whole_in_both_directions(
    proxy: Served, upstream: RawUpstream, edited: EditMemory
) -> None:
    image = "A" * 3_000_000
    content = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}},
        {"type": "text", "text": UNRELATED},
    ]
    body = json.dumps({"messages": [{"role": "user", "content": content}]}, indent=1).encode()
    upstream.default = whole(body[::-1])
    got = proxy.ask("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
    assert upstream.last().body == body
    assert got.body == body[::-1]
    assert got.header("x-memedit-route") == "pass"


def test_a_chunked_request_arrives_whole_with_one_length(
    proxy: Served, upstream: RawUpstream
) -> None:
    with RawClient(proxy.port) as client:
        client.send(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
            b'4\r\n{"mo\r\n3\r\ndel\r\n6\r\n":"m"}\r\n0\r\n\r\n'
        )
        assert client.until(b"}").startswith(b"HTTP/1.1 200")
    request = upstream.last()
    assert request.body == b'{"model":"m"}'
    assert request.header(b"content-length") == b"13"
    assert request.header(b"transfer-encoding") is None


@pytest.mark.parametrize(
    "lengths",
    [
        b"content-length: 5\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        b"content-length: 5\r\ncontent-length: 6\r\n",
        b"content-length: +5\r\n",
        b"transfer-encoding: xchunked\r\n",
    ],
)
def test_a_body_of_two_lengths_is_refused_before_it_can_be_smuggled(
    proxy: Served, upstream: RawUpstream, lengths: bytes
) -> None:
    with RawClient(proxy.port) as client:
        client.send(
            b"POST /v1/completions HTTP/1.1\r\nhost: x\r\n" + lengths + b"\r\n"
            b"0\r\n\r\nGET /v1/smuggled HTTP/1.1\r\nhost: x\r\n\r\n"
        )
        assert client.until(b"\r\n").startswith(b"HTTP/1.1 400")
    assert upstream.requests == []


def test_expect_continue_is_answered_and_not_sent_on(proxy: Served, upstream: RawUpstream) -> None:
    with RawClient(proxy.port) as client:
        client.send(
            b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
            b"content-length: 2\r\n\r\n"
        )
        assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 Continue")
        client.send(b"{}")
        assert client.until(b"}").startswith(b"HTTP/1.1 200")
    assert upstream.last().header(b"expect") is None
    assert upstream.last().body == b"{}"
