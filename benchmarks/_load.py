"""A closed loop of clients in a separate process: each sends its next request after the answer to its last."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

WARM_UP = 1.0  # seconds that are not counted


class Client(asyncio.Protocol):
    """One connection; answers are delimited by their Content-Length."""

    def __init__(
        self, requests: list[bytes], start: int, seconds: list[tuple[float, float]], failures: list[int]
    ) -> None:
        self.requests, self.next, self.seconds, self.failures = requests, start, seconds, failures
        self.received = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        self.next = (self.next + 1) % len(self.requests)
        self.started = time.perf_counter()
        self.transport.write(self.requests[self.next])

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        if found and len(body) >= length(head):
            now = time.perf_counter()
            self.seconds.append((now, now - self.started))
            if not head.startswith(b"HTTP/1.1 200"):
                self.failures.append(int(head[9:12]))
            self.received = b""
            self.send()


def length(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"content-length:")
    return int(rest.partition(b"\r\n")[0])


async def load(port: int, requests: list[bytes], *, connections: int, duration: float) -> dict[str, float]:
    """Return answers per second, and percentiles of the response time in ms."""
    seconds: list[tuple[float, float]] = []
    failures: list[int] = []
    loop = asyncio.get_running_loop()
    open_ones = [
        await loop.create_connection(lambda n=n: Client(requests, n * 97, seconds, failures), "127.0.0.1", port)  # type: ignore[misc]
        for n in range(connections)
    ]
    begun = time.perf_counter()
    await asyncio.sleep(WARM_UP + duration)
    for transport, _ in open_ones:
        transport.abort()
    counted = np.array([each for end, each in seconds if end >= begun + WARM_UP])
    if failures or not len(counted):
        raise ValueError(f"{len(failures)} of {len(seconds)} answers failed: {sorted(set(failures))}")
    p50, p99 = np.percentile(counted, [50, 99]) * 1000
    rate = len(counted) / duration
    return {"answers": len(seconds), "requests_per_s": rate, "p50_ms": float(p50), "p99_ms": float(p99)}


def request(path: str, body: bytes) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def main() -> None:
    port, path, connections, duration = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    users = json.loads(Path(sys.argv[5]).read_text("utf-8"))
    requests = [request(path, json.dumps({"user_id": user, "k": 10}).encode()) for user in users]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(load(port, requests, connections=connections, duration=duration))))


if __name__ == "__main__":
    main()
