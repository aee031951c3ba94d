"""Counters of answers and lists, for Prometheus and `longtail monitor`; the access log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import numpy as np
import prometheus_client
from prometheus_client import CollectorRegistry, multiprocess
from prometheus_client.core import GaugeMetricFamily

from bento.monitoring.exposure_window import K, Window
from models.inference.candidates import Indices

METHODS = frozenset(("GET", "POST", "HEAD", "OPTIONS"))
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)  # seconds
SEGMENTS = ("head", "tail", "cold")
EXPLORES: ContextVar[bool] = ContextVar("explores", default=False)
PURPOSE = (b"x-longtail-purpose", b"explore")  # header of requests by people who try lists out


def note(scope: Any) -> None:
    """Remember whether this request explores: lists that a person tries out are not counted as exposure."""
    EXPLORES.set(PURPOSE in scope["headers"])


def labels(paths: Iterable[str]) -> Callable[[str], str]:
    """Return a function from a path to its label: that of one of these paths, since a path can be any text."""
    names = {first(path) for path in paths}

    def label(path: str) -> str:
        name = first(path)
        return name if name in names else "other"

    return lru_cache(1024)(label)


def first(path: str) -> str:
    return "explorer" if path == "/" else path.strip("/").split("/")[0]


class Watch:
    """Counters of answers and of the lists in them; both calls are on the hot path."""

    def __init__(
        self, tag: str, release: Mapping[str, Any], segments: Sequence[str], *, version: str | None = None
    ) -> None:
        """Register the counters; tag: of the model; release: from release.json; segments: of the items, by item_idx."""
        self.tag, self.verdict, self.version = tag, release["verdict"], version
        self.label = labels(())  # the application sets that of its paths
        self.gate = judged(release)
        self.segment = np.array([SEGMENTS.index(name) for name in segments], np.int8)
        self.window = Window(tag, self.segment > 0, int(self.gate.get("lists") or 0))
        self.registry = CollectorRegistry()
        r = self.registry
        self.requests = prometheus_client.Counter(
            "longtail_requests", "Requests, by endpoint and HTTP status", ["endpoint", "status"], registry=r
        )
        self.seconds = prometheus_client.Histogram(
            "longtail_request_seconds", "Response time, by endpoint", ["endpoint"], buckets=BUCKETS, registry=r
        )
        self.lists = prometheus_client.Counter(
            "longtail_lists", "Lists served, by fallback reason", ["endpoint", "fallback"], registry=r
        )
        items = prometheus_client.Counter(
            "longtail_recommended_items",
            "Items in served lists, by segment (head, tail, cold)",
            ["segment"],
            registry=r,
        )
        self.items = [items.labels(name) for name in SEGMENTS]
        # looking up the child of labels costs as much as counting
        self.request_of = lru_cache(4096)(lambda name, status: self.requests.labels(name, str(status)).inc)
        self.seconds_of = lru_cache(256)(lambda name: self.seconds.labels(name).observe)
        self.list_of = lru_cache(256)(lambda name, fallback: self.lists.labels(name, fallback).inc)
        self.cuts = prometheus_client.Counter(
            "longtail_connections_cut", "Connections closed by the server, by reason", ["reason"], registry=r
        )
        self.more: list[Callable[[], Iterator[GaugeMetricFamily]]] = []  # gauges of other modules
        self.log = access_log(tag)

    def served(self, endpoint: str, items: Indices, fallback: str | None) -> None:
        """Count a served list (k,) of item indices; fallback: its reason, None for a list made from a history."""
        if EXPLORES.get():
            return
        self.list_of(endpoint, fallback or "none")()
        for counter, n in zip(self.items, np.bincount(self.segment[items], minlength=3).tolist(), strict=True):
            if n:
                counter.inc(n)
        self.window.add(items, fallback is not None)

    def answered(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count and log an answered request; path: as requested, known or not."""
        name = self.label(path)
        self.request_of(name, status)()
        self.seconds_of(name)(seconds)
        if self.log is not None:
            self.log(method, name, status, seconds)

    def cut(self, reason: str) -> None:
        """Count a connection that the server closed; reason: a label, one of a few."""
        self.cuts.labels(reason).inc()

    def metrics(self) -> bytes:
        """Return the counters of all workers, and the window, in Prometheus' text format."""
        registry = CollectorRegistry()
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        else:
            registry.register(self.registry)
        registry.register(self)
        return prometheus_client.generate_latest(registry)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges of the window and of other modules, computed at each scrape."""
        for gauges in self.more:
            yield from gauges()
        window = self.window.exposure()
        about = GaugeMetricFamily(
            "longtail_model_info",
            "The served model, its version in the registry if it has one, and its verdict",
            labels=["model", "version", "verdict"],
        )
        about.add_metric([self.tag, self.version or "", self.verdict], 1)
        yield about
        for name, text, value in (
            ("longtail_window_size", "Distinct lists of a full window, as many as the gate judged", window.size),
            ("longtail_window_lists", "Lists in the window (the lists served last)", window.lists),
            ("longtail_window_distinct_lists", "Distinct lists in the window", window.distinct),
            ("longtail_fallback_share", "Share of lists served from a fallback", window.fallback_share),
            ("longtail_tail_exposure_share", "Share of tail items among the items in the window", window.tail_share),
            ("longtail_tail_coverage", "Share of the tail that is in any list of the window", window.tail_coverage),
            ("longtail_gate_lists", "Lists that the release gate judged", self.gate.get("lists")),
            ("longtail_gate_tail_exposure_share", "Tail exposure share at the gate", self.gate.get("tail_share")),
            ("longtail_gate_tail_coverage", "Tail coverage at the gate", self.gate.get("tail_coverage")),
        ):
            if value is not None:
                yield GaugeMetricFamily(name, text, value=value)


def judged(release: Mapping[str, Any]) -> dict[str, Any]:
    """Return the gate's figures: the number of judged lists of K items, and their tail exposure; None: not measured."""
    figures = release.get("figures") or {}
    shown = {"tail_share": figures.get(f"aplt@{K}"), "tail_coverage": figures.get(f"tail_coverage@{K}")}
    return {"k": K, "lists": release.get("judged_users"), **shown}


def access_log(model: str) -> Callable[[str, str, int, float], None] | None:
    """Return a function that logs a request as a line of JSON, without client-supplied text; None if switched off."""
    if os.environ.get("LONGTAIL_ACCESS_LOG") == "off":
        return None
    write, flush = sys.stdout.write, sys.stdout.flush

    @lru_cache(2)
    def stamp(second: int) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))

    def log(method: str, name: str, status: int, seconds: float) -> None:
        method = method if method in METHODS else "other"
        write(
            f'{{"time": "{stamp(int(time.time()))}", "method": "{method}", "endpoint": "{name}", "status": {status}, '
            f'"ms": {seconds * 1000:.2f}, "model": "{model}"}}\n'
        )
        flush()

    return log
