"""Prometheus metrics of one proxy process, in a registry of their own.

One process serves one proxy; to scale out, run replicas and let Prometheus add them up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

import memedit

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
MOST_NAMESPACES = 100
"""Namespaces shown by name; those with fewer edits are added up."""
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """What is counted, and how it is told."""

    def __init__(self, live_edits: Callable[[], Mapping[str, int]]) -> None:
        """Set up all metrics.

        Args:
            live_edits: live edits by namespace; called at each scrape, in the scraping thread.

        """
        own = self.registry = CollectorRegistry()
        self.requests = Counter(
            "memedit_requests",
            "Model API requests by wire format, route, reason and status of the answer.",
            ("wire", "route", "reason", "status"),
            registry=own,
        )
        self.forwarded = Counter(
            "memedit_forwarded",
            "Requests forwarded without being read, by status of the answer.",
            ("status",),
            registry=own,
        )
        self.edit_api = Counter(
            "memedit_edit_api",
            "Requests to the edit API, by status of the answer.",
            ("status",),
            registry=own,
        )
        self.refused = Counter(
            "memedit_refused", "Requests not forwarded, by reason.", ("reason",), registry=own
        )
        self.edits_applied = Counter(
            "memedit_edits_applied", "Edits written into requests.", registry=own
        )
        self.adapter_requests = Counter(
            "memedit_adapter_requests", "Requests sent to an adapter.", registry=own
        )
        self.adapter_loads = Counter(
            "memedit_adapter_loads",
            "Adapters that the served model was asked to load or unload: done, or why not.",
            ("doing", "outcome"),
            registry=own,
        )
        self.adapters_loaded = Gauge(
            "memedit_adapters_loaded", "Adapters that this proxy has loaded.", registry=own
        )
        self.guarded = Counter(
            "memedit_guarded_answers",
            "Answers watched for an erased fact: clear, or withheld because they told it.",
            ("outcome",),
            registry=own,
        )
        self.enriched = Counter(
            "memedit_edits_enriched",
            "Written edits for which questions were to be generated, by what became of it.",
            ("outcome",),
            registry=own,
        )
        self.questions = Counter(
            "memedit_generated_questions",
            "Questions generated for edits: stored, or rejected because they do not ask the same.",
            ("outcome",),
            registry=own,
        )
        self.decision_seconds = Histogram(
            "memedit_decision_seconds",
            "From the whole request body being there to the request being ready to be forwarded.",
            buckets=_SECONDS,
            registry=own,
        )
        self.batch_size = Histogram(
            "memedit_decision_batch_size",
            "Prompts decided together.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=own,
        )
        self.upstream_errors = Counter(
            "memedit_upstream_errors", "Upstream failures by kind.", ("kind",), registry=own
        )
        self.memory_failures = Counter(
            "memedit_memory_failures",
            "Requests for which the edit memory could not answer.",
            registry=own,
        )
        self.clients_gone = Counter(
            "memedit_clients_gone", "Requests whose client left before the end.", registry=own
        )
        self.in_flight = Gauge(
            "memedit_requests_in_flight", "Requests now being answered.", registry=own
        )
        build = Gauge("memedit_build_info", "Always 1.", ("version",), registry=own)
        build.labels(memedit.__version__).set(1)
        own.register(_LiveEdits(live_edits))

    def exposition(self) -> bytes:
        """Return all metrics in the Prometheus text format; may ask the memory, so may block."""
        return generate_latest(self.registry)


class _LiveEdits(Collector):
    """Counts the live edits when asked; a memory that fails is a missing sample, not an error."""

    def __init__(self, live_edits: Callable[[], Mapping[str, int]]) -> None:
        self._live_edits = live_edits

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return ()  # registering must not ask the memory

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "memedit_edits_live", "Live edits by namespace.", labels=("namespace",)
        )
        try:
            counts = self._live_edits()
        except Exception:  # a scrape shows everything else; of the memory /readyz tells
            return
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        for namespace, count in ranked[:MOST_NAMESPACES]:
            family.add_metric((namespace,), count)
        if len(ranked) > MOST_NAMESPACES:
            rest = sum(count for _, count in ranked[MOST_NAMESPACES:])
            family.add_metric(("_others",), rest)
        yield family
