"""Prometheus metrics of feedback: events by outcome, time and failures of the store, lists made without it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import prometheus_client
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily

from bento.feedback.batching import Batcher
from bento.feedback.recent import Recent

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)  # seconds


class FeedbackWatch:
    """Counters of requests with events and of calls of the store."""

    def __init__(self, registry: CollectorRegistry, writer: Batcher[Any, Any], recent: Recent) -> None:
        self.writer, self.recent = writer, recent
        self.events = prometheus_client.Counter(
            "longtail_feedback_events", "Events received, by outcome and kind", ["outcome", "kind"], registry=registry
        )
        self.seconds = prometheus_client.Histogram(
            "longtail_feedback_store_seconds",
            "Duration of calls of the feedback store, by operation", ["operation"], buckets=BUCKETS, registry=registry,
        )  # fmt: skip
        self.failures = prometheus_client.Counter(
            "longtail_feedback_store_failures", "Failed calls of the feedback store", ["operation"], registry=registry
        )
        skipped = prometheus_client.Counter(
            "longtail_feedback_skipped",
            "Histories used without new events, because the feedback store did not answer", registry=registry,
        )  # fmt: skip
        for operation in ("read", "write"):
            self.failures.labels(operation)
        writer.observe = partial(self.called, "write")
        if recent.reader is not None:
            recent.reader.observe = partial(self.called, "read")
        recent.skipped = skipped.inc

    def called(self, operation: str, seconds: float, failed: bool) -> None:
        self.seconds.labels(operation).observe(seconds)
        if failed:
            self.failures.labels(operation).inc()

    def acknowledged(self, outcomes: Sequence[str], kinds: Sequence[str]) -> None:
        """Count events by their outcomes and kinds, both in the same order."""
        for labels, n in Counter(zip(outcomes, kinds, strict=True)).items():
            self.events.labels(*labels).inc(n)

    def refused(self, kinds: Sequence[str]) -> None:
        self.acknowledged(["refused"] * len(kinds), kinds)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges of the worker that answers the scrape."""
        up = GaugeMetricFamily(
            "longtail_feedback_up", "1 if the feedback store works for this worker, by operation", labels=["operation"]
        )
        up.add_metric(["write"], float(self.writer.problem() is None))
        up.add_metric(["read"], float(self.recent.problem() is None))
        yield up
        yield GaugeMetricFamily(
            "longtail_feedback_waiting",
            "Events of this worker waiting for the feedback store",
            value=self.writer.waiting,
        )
