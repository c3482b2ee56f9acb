from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import openai
import pytest
import torch

from memedit.engine.loading import LoadedModel
from tests.engine.conftest import NAME, PROMPTS, greedy


def complete(http: httpx2.Client, **body: Any) -> dict[str, Any]:
    answer = http.post("/v1/completions", json={"temperature": 0, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def events(http: httpx2.Client, path: str, **body: Any) -> list[dict[str, Any]]:
    with http.stream("POST", path, json={"stream": True, **body}) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_is_what_generate_says(
    http: httpx2.Client, loaded: LoadedModel, prompt: str
) -> None:
    ids = loaded.tokenizer(prompt).input_ids
    answer = complete(http, prompt=prompt, max_tokens=40, return_token_ids=True)
    choice = answer["choices"][0]
    expected = greedy(loaded, ids, 40)
    assert choice["token_ids"] == expected
    assert choice["prompt_token_ids"] == ids
    assert choice["finish_reason"] == ("stop" if expected[-1] == 1 else "length")
    assert answer["usage"] == {
        "prompt_tokens": len(ids),
        "completion_tokens": len(expected),
        "total_tokens": len(ids) + len(expected),
    }
    whole = loaded.tokenizer.decode(expected, skip_special_tokens=True)
    assert whole.rstrip("\ufffd") == choice["text"].rstrip("\ufffd")


def test_repetition_penalty_is_what_generate_says(http: httpx2.Client, loaded: LoadedModel) -> None:
    ids = loaded.tokenizer(PROMPTS[0]).input_ids
    body = {"prompt": ids, "max_tokens": 30, "repetition_penalty": 1.3}
    choice = complete(http, **body, return_token_ids=True)["choices"][0]
    assert choice["token_ids"] == greedy(loaded, ids, 30, repetition_penalty=1.3)
    assert choice["token_ids"] != greedy(loaded, ids, 30)


def test_the_answer_does_not_depend_on_the_batch(http: httpx2.Client) -> None:
    alone = [complete(http, prompt=p, max_tokens=30)["choices"][0]["text"] for p in PROMPTS]
    batch = complete(http, prompt=PROMPTS, max_tokens=30)
    assert [choice["index"] for choice in batch["choices"]] == list(range(len(PROMPTS)))
    assert [choice["text"] for choice in batch["choices"]] == alone

    # Requests that come and go at different times, of different lengths.
    def one(number: int) -> str:
        prompt = PROMPTS[number % len(PROMPTS)]
        return complete(http, prompt=prompt, max_tokens=8 + 4 * (number % 6))["choices"][0]["text"]

    with ThreadPoolExecutor(12) as pool:
        for number, text in enumerate(pool.map(one, range(48))):
            assert alone[number % len(PROMPTS)].startswith(text)


@pytest.mark.parametrize("many", [False, True])
def test_token_ids_are_prompts_too(http: httpx2.Client, loaded: LoadedModel, many: bool) -> None:
    listed = [loaded.tokenizer(prompt).input_ids for prompt in PROMPTS[:2]]
    as_text = complete(http, prompt=PROMPTS[:2], max_tokens=12)
    as_ids = complete(http, prompt=listed if many else listed[0], max_tokens=12)
    for ours, theirs in zip(as_ids["choices"], as_text["choices"], strict=False):
        assert ours["text"] == theirs["text"]
    assert len(as_ids["choices"]) == (2 if many else 1)


def test_stream_equals_whole(http: httpx2.Client) -> None:
    for prompt in PROMPTS:
        body = {"prompt": prompt, "max_tokens": 60, "temperature": 0, "ignore_eos": True}
        whole = complete(http, **body)
        parts = events(http, "/v1/completions", **body, stream_options={"include_usage": True})
        assert parts[-1]["choices"] == []
        assert parts[-1]["usage"] == whole["usage"]
        chunks = [part["choices"][0] for part in parts[:-1]]
        assert "".join(chunk["text"] for chunk in chunks) == whole["choices"][0]["text"]
        assert [chunk["finish_reason"] for chunk in chunks][-1] == "length"
        assert {chunk["finish_reason"] for chunk in chunks[:-1]} <= {None}


def test_n_choices_and_seed(http: httpx2.Client) -> None:
    body = {"prompt": ["It", "The"], "n": 3, "max_tokens": 20, "temperature": 1.0, "seed": 7}
    first, second = complete(http, **body), complete(http, **body)
    texts = [choice["text"] for choice in first["choices"]]
    assert len(texts) == 6
    assert len(set(texts[:3])) == 3
    assert texts == [choice["text"] for choice in second["choices"]]
    other = complete(http, **{**body, "seed": 8})
    assert texts != [choice["text"] for choice in other["choices"]]


def test_top_k_one_is_greedy(http: httpx2.Client) -> None:
    best = complete(http, prompt="It", max_tokens=20)["choices"][0]["text"]
    for narrow in ({"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}):
        body = {"prompt": "It", "max_tokens": 20, "temperature": 1.0, **narrow}
        assert complete(http, **body)["choices"][0]["text"] == best


def test_stop_string_across_tokens(http: httpx2.Client) -> None:
    whole = complete(http, prompt="It", max_tokens=60, ignore_eos=True, return_token_ids=True)
    text = whole["choices"][0]["text"]
    # Any three characters of the text: with so small a vocabulary they span tokens' borders.
    for start in range(4, len(text) - 3, 5):
        stop = text[start : start + 3]
        if "\ufffd" in stop:
            continue
        expected = text[: text.index(stop)]
        body = {
            "prompt": "It",
            "max_tokens": 60,
            "ignore_eos": True,
            "stop": [stop, "never there"],
            "temperature": 0,
        }
        choice = complete(http, **body)["choices"][0]
        assert (choice["text"], choice["finish_reason"]) == (expected, "stop")
        assert choice["stop_reason"] == stop
        chunks = events(http, "/v1/completions", **body)
        assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == expected
        kept = complete(http, **body, include_stop_str_in_output=True)["choices"][0]["text"]
        assert kept == expected + stop


def test_stop_token_ids(http: httpx2.Client) -> None:
    body = {"prompt": "It", "max_tokens": 30, "ignore_eos": True, "return_token_ids": True}
    ids = complete(http, **body)["choices"][0]["token_ids"]
    wanted = ids[10]
    choice = complete(http, **body, stop_token_ids=[wanted])["choices"][0]
    assert choice["token_ids"] == ids[: ids.index(wanted) + 1]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", wanted)


def test_logprobs_equal_a_direct_forward(http: httpx2.Client, loaded: LoadedModel) -> None:
    answer = complete(
        http, prompt=PROMPTS[0], max_tokens=15, logprobs=3, echo=True, return_token_ids=True
    )
    choice = answer["choices"][0]
    ids = choice["prompt_token_ids"] + choice["token_ids"]
    with torch.inference_mode():
        expected = torch.log_softmax(loaded.model(torch.tensor([ids])).logits[0], -1)
    found = choice["logprobs"]
    assert found["token_logprobs"][0] is None
    assert found["top_logprobs"][0] is None
    direct = [float(expected[place, token]) for place, token in enumerate(ids[1:])]
    assert found["token_logprobs"][1:] == pytest.approx(direct, abs=1e-4)
    for place, top in enumerate(found["top_logprobs"][1:]):
        best, tokens = expected[place].topk(3)
        names = [*loaded.tokenizer.batch_decode(tokens[:, None]), found["tokens"][place + 1]]
        if any("\ufffd" in name for name in names):
            continue  # halves of characters, which share a name
        assert 3 <= len(top) <= 4
        assert sorted(top.values(), reverse=True)[:3] == pytest.approx(best.tolist(), abs=1e-4)
    assert len(found["tokens"]) == len(ids)
    assert choice["text"].startswith(PROMPTS[0])
    lengths = [len(token) for token in found["tokens"]]
    assert found["text_offset"] == [sum(lengths[:place]) for place in range(len(ids))]


def test_logprobs_in_a_stream_are_those_of_the_whole(http: httpx2.Client) -> None:
    body = {"prompt": "Zürich", "max_tokens": 25, "logprobs": 2, "temperature": 0, "echo": True}
    whole = complete(http, **body)["choices"][0]["logprobs"]
    chunks = [part["choices"][0]["logprobs"] for part in events(http, "/v1/completions", **body)]
    for field in ("tokens", "text_offset"):
        assert [one for chunk in chunks for one in chunk[field]] == whole[field]
    logprobs = [one for chunk in chunks for one in chunk["token_logprobs"]]
    assert logprobs[1:] == pytest.approx(whole["token_logprobs"][1:], abs=1e-4)


def test_echo_alone_scores_a_prompt(http: httpx2.Client) -> None:
    answer = complete(http, prompt="The lighthouse", max_tokens=0, echo=True, logprobs=0)
    choice = answer["choices"][0]
    assert choice["text"] == "The lighthouse"
    assert len(choice["logprobs"]["tokens"]) == answer["usage"]["prompt_tokens"]
    assert answer["usage"]["completion_tokens"] == 0
    assert all(len(top) == 1 for top in choice["logprobs"]["top_logprobs"][1:])


def test_logit_bias_and_min_tokens(http: httpx2.Client) -> None:
    body = {"prompt": "It", "max_tokens": 6, "logit_bias": {"1": 100}, "return_token_ids": True}
    assert complete(http, **body)["choices"][0]["token_ids"] == [1]
    later = complete(http, **body, min_tokens=4)["choices"][0]["token_ids"]
    assert later[4] == 1
    assert 1 not in later[:4]


def test_the_sdk(client: openai.OpenAI, http: httpx2.Client) -> None:
    whole = client.completions.create(model=NAME, prompt="It", max_tokens=10, temperature=0)
    assert whole.choices[0].text == complete(http, prompt="It", max_tokens=10)["choices"][0]["text"]
    stream = client.completions.create(
        model=NAME, prompt="It", max_tokens=10, temperature=0, stream=True
    )
    assert "".join(chunk.choices[0].text for chunk in stream) == whole.choices[0].text
