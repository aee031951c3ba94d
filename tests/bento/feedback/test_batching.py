"""The thread that works for many: it survives everything, refuses while its store is down, and finds out by itself."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator

import pytest

from bento.feedback import batching
from bento.feedback.batching import Batcher, BusyError, DownError


class Store:
    """A store that fails, or hangs, when it is told to."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.bad: str | None = None
        self.goes = threading.Event()
        self.goes.set()
        self.arrived = threading.Semaphore(0)
        self.calls: list[list[str]] = []

    def work(self, batch: list[str]) -> list[str]:
        self.calls.append(batch)
        self.probe()
        if self.bad in batch:
            raise ValueError(self.bad)
        return [each.upper() for each in batch]

    def probe(self) -> None:
        self.arrived.release()
        assert self.goes.wait(30)
        if self.error is not None:
            raise self.error


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(batching, "LAST_PAUSE", 0.02)


@pytest.fixture
def store() -> Iterator[Store]:
    found = Store()
    yield found
    found.error = None
    found.goes.set()


def batcher(store: Store, seconds: float = 30.0) -> Batcher[str, str]:
    return Batcher("test", store.work, store.probe, seconds=seconds, most=lambda: 10)


def until_it_works(each: Batcher[str, str], store: Store) -> None:
    """Wait, for as many tries as it takes, until callers are let in."""
    for _ in range(1000):
        if each.problem() is None:
            return
        store.arrived.acquire(timeout=1)
    raise AssertionError("the store was never found to work again")


def test_a_caller_that_gives_up_leaves_the_thread_to_the_others(store: Store) -> None:
    """A future that was cancelled while its batch was written once ended the only thread there is."""
    many = batcher(store)
    store.goes.clear()

    async def give_up() -> None:
        under_way = asyncio.wrap_future(many.submit(["a"]))
        await asyncio.to_thread(store.arrived.acquire)
        waiting = asyncio.wrap_future(many.submit(["b"]))
        for future in (under_way, waiting):
            future.cancel()
        await asyncio.gather(under_way, waiting, return_exceptions=True)

    asyncio.run(give_up())
    store.goes.set()
    assert many.submit(["c"]).result(30) == ["C"]
    assert [each for call in store.calls for each in call] == ["a", "c"]  # nobody waits for b any more


@pytest.mark.parametrize("error", [OSError("gone"), SystemExit(1), MemoryError(), KeyboardInterrupt()])
def test_the_thread_survives_whatever_the_store_raises(store: Store, error: BaseException) -> None:
    many = batcher(store)
    assert many.submit(["a"]).result(30) == ["A"]
    store.error = error
    with pytest.raises(type(error)):
        many.submit(["b"]).result(30)
    store.error = None
    until_it_works(many, store)
    assert many.submit(["c"]).result(30) == ["C"]


def test_while_the_store_fails_callers_are_refused_without_asking_it(store: Store) -> None:
    many = batcher(store)
    store.error = OSError("gone")
    with pytest.raises(OSError, match="gone"):
        many.submit(["a"]).result(30)
    for name in ("b", "c"):
        with pytest.raises(DownError, match="OSError") as refused:
            many.submit([name])
        assert refused.value.seconds >= 1
    assert store.calls == [["a"]]
    assert many.problem() == "OSError"
    for _ in range(3):
        store.arrived.acquire(timeout=30)  # it is tried again without any caller
    store.error = None
    until_it_works(many, store)
    assert many.submit(["d"]).result(30) == ["D"]


def test_a_store_that_hangs_is_known_to_and_holds_one_thread(store: Store) -> None:
    many = batcher(store, seconds=0.05)
    before = threading.active_count()
    store.goes.clear()
    stuck = many.submit(["a"])
    store.arrived.acquire()
    while many.problem() is None:
        threading.Event().wait(0.01)
    for _ in range(100):
        with pytest.raises(DownError, match=r"no answer within 0\.05 s"):
            many.submit(["b"])
    assert threading.active_count() == before + 1
    store.goes.set()
    assert stuck.result(30) == ["A"]  # late, and stored
    until_it_works(many, store)


def test_what_the_store_does_not_take_fails_alone(store: Store) -> None:
    many = batcher(store)
    store.goes.clear()
    futures = [many.submit(["first"])]
    store.arrived.acquire()
    futures += [many.submit([name]) for name in ("good", "bad", "fine")]
    store.bad = "bad"
    store.goes.set()
    with pytest.raises(ValueError, match="bad"):
        futures.pop(2).result(30)
    assert [future.result(30) for future in futures] == [["FIRST"], ["GOOD"], ["FINE"]]
    assert many.problem() is None


def test_a_wrong_number_of_answers_is_an_error_of_all_and_ends_nothing(store: Store) -> None:
    many: Batcher[str, str] = Batcher("test", lambda batch: batch[1:], store.probe, seconds=30, most=lambda: 10)
    with pytest.raises(ValueError, match="0 answers to 1 questions"):
        many.submit(["a"]).result(30)
    with pytest.raises(ValueError, match="answers to"):
        many.submit(["a", "b"]).result(30)


def test_more_than_may_wait_is_refused(store: Store) -> None:
    many = batcher(store)
    store.goes.clear()
    first = many.submit(["a"])
    store.arrived.acquire()
    waiting = many.submit(["b"] * 10)
    with pytest.raises(BusyError):
        many.submit(["c"])
    store.goes.set()
    assert [len(first.result(30)), len(waiting.result(30))] == [1, 10]


def test_the_log_says_what_the_store_says_once_and_no_values(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    many = batcher(store)
    store.error = OSError("connection refused\n[parameters: secret]")
    with caplog.at_level(logging.WARNING, "longtail.serve"), pytest.raises(OSError, match="refused"):
        many.submit(["a"]).result(30)
    for _ in range(3):
        store.arrived.acquire(timeout=30)
    assert caplog.text.count("connection refused") == 1
    assert "secret" not in caplog.text
