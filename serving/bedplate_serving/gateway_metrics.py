"""What the gateway counts, for Prometheus. Labels are bounded: endpoints of the snapshot, statuses, codes of ours."""

from __future__ import annotations

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

__all__ = ["CONTENT_TYPE", "GatewayMetrics"]

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
LEFT = 499  # as a status: the caller hung up before an answer began


class GatewayMetrics:
    """One registry of its own. An endpoint that is in no snapshot is counted under the empty name."""

    def __init__(self) -> None:
        # A time beside each counter doubles their number and is of no use here.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "bedplate_scoring_requests_total",
            "Scoring requests by the status of their answer; 499 is a caller who left before it.",
            ["endpoint", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "bedplate_scoring_seconds",
            "From the head of a scoring request to the end of its answer.",
            ["endpoint"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self._open = Gauge(
            "bedplate_scoring_open", "Scoring requests that are being answered.", ["endpoint"], registry=self._registry
        )
        self._refused = Counter(
            "bedplate_gateway_refused_total",
            "Requests that the gateway itself refused, by the code of the problem.",
            ["reason"],
            registry=self._registry,
        )

        # Looked up once for each endpoint: a request then costs additions alone.
        self._open_at = cache(self._open.labels)
        self._seconds_at = cache(self._seconds.labels)
        self._requests_at = cache(lambda endpoint, status: self._requests.labels(endpoint, str(status)))

    def begin(self, endpoint: str) -> None:
        self._open_at(endpoint).inc()

    def rename(self, endpoint: str, other: str) -> None:
        """One that was begun is of another endpoint, as its body says."""
        self._open_at(endpoint).dec()
        self._open_at(other).inc()

    def end(self, endpoint: str, status: int | None, seconds: float) -> None:
        """`status` is None where no answer had begun."""
        self._open_at(endpoint).dec()
        self._requests_at(endpoint, status or LEFT).inc()
        self._seconds_at(endpoint).observe(seconds)

    def refuse(self, code: str) -> None:
        self._refused.labels(code).inc()

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return generate_latest(self._registry)
