from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from memedit.errors import NotFoundError
from memedit.memory.ids import IdMaker, split_ref


def test_ids_are_unique_and_ascend() -> None:
    maker = IdMaker()
    ids = [name for n in (1, 5_000, 1, 3) for name in maker.make(n)]
    assert len(set(ids)) == len(ids) == 5_005
    assert ids == sorted(ids)
    assert all(split_ref(name) == (name, None) for name in ids)


def test_threads_get_different_ids() -> None:
    maker = IdMaker()
    with ThreadPoolExecutor(8) as pool:
        ids = [name for part in pool.map(maker.make, [500] * 16) for name in part]
    assert len(set(ids)) == 8_000


def test_two_makers_hardly_ever_agree() -> None:
    assert not set(IdMaker().make(50)) & set(IdMaker().make(50))


def test_a_clock_that_goes_back_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    maker = IdMaker()
    [first] = maker.make(1)
    monkeypatch.setattr("time.time_ns", lambda: 1_600_000_000_000_000_000)
    [second] = maker.make(1)
    assert second > first


def test_refs() -> None:
    assert split_ref("e-0123456789ab@12") == ("e-0123456789ab", 12)
    for bad in ("", "e-", "e-0123456789ab@", "e-0123456789ab@0", "e-0123456789ab@-1", "x" * 500):
        with pytest.raises(NotFoundError) as error:
            split_ref(bad)
        assert len(str(error.value)) < 300
