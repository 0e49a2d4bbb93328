"""What the gateway counted of one endpoint since it started, and what that says of the time between two looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Counted", "Pace", "counted_of", "pace"]

FAILED = 500  # an answer's status from here on is this server's fault, below it is the caller's


@dataclass(frozen=True)
class Counted:
    """Sums that only grow, but for `open`. `within`: [seconds, answers that took at most so long], the last of any."""

    open: int = 0
    statuses: Mapping[str, int] = field(default_factory=dict)
    within: Sequence[tuple[float, int]] = ()

    @property
    def requests(self) -> int:
        return sum(self.statuses.values())

    @property
    def failed(self) -> int:
        return sum(count for status, count in self.statuses.items() if int(status) >= FAILED)

    @property
    def refused(self) -> int:
        return sum(count for status, count in self.statuses.items() if 400 <= int(status) < FAILED)

    def quantile(self, share: float) -> float | None:
        """Within how many seconds that share of the answers was there, in proportion between bounds; None of none."""
        total = self.within[-1][1] if self.within else 0
        if total <= 0:
            return None
        wanted, below, before = share * total, 0.0, 0
        for seconds, count in self.within:
            if count >= wanted and count > before:
                return (
                    below
                    if seconds == float("inf")
                    else below + (seconds - below) * (wanted - before) / (count - before)
                )
            below, before = seconds, count
        return below

    def since(self, earlier: Counted) -> Counted:
        """What came between. A gateway that was started anew counts from nothing, and so do we."""
        if earlier.requests > self.requests or len(earlier.within) != len(self.within):
            return self
        statuses = {status: count - earlier.statuses.get(status, 0) for status, count in self.statuses.items()}
        pairs = zip(self.within, earlier.within, strict=True)
        within = [(seconds, count - before) for (seconds, count), (_, before) in pairs]
        return Counted(self.open, statuses, within)

    def to_json(self) -> dict[str, Any]:
        return {
            "open": self.open,
            "requests": self.requests,
            "refused": self.refused,
            "failed": self.failed,
            "p50_seconds": self.quantile(0.5),
            "p95_seconds": self.quantile(0.95),
            "statuses": dict(self.statuses),
            "within": [[None if seconds == float("inf") else seconds, count] for seconds, count in self.within],
        }

    @classmethod
    def of_json(cls, data: Mapping[str, Any]) -> Counted:
        within = [(float("inf") if seconds is None else seconds, count) for seconds, count in data["within"]]
        return cls(data["open"], data["statuses"], within)


@dataclass(frozen=True)
class Pace:
    """How an endpoint was doing for some seconds. Latencies in seconds; None where nothing was answered."""

    requests_per_second: float
    failed_per_second: float
    p50: float | None
    p95: float | None


def pace(now: Counted, earlier: Counted, seconds: float) -> Pace:
    """Between two looks that are `seconds` apart."""
    between = now.since(earlier)
    return Pace(between.requests / seconds, between.failed / seconds, between.quantile(0.5), between.quantile(0.95))


def counted_of(text: str, endpoint: str) -> Counted:
    """Out of what the gateway tells Prometheus. Only the lines of this endpoint are parsed."""
    mark = f'endpoint="{endpoint}"'
    lines = "\n".join(line for line in text.splitlines() if mark in line)
    open_, statuses, within = 0, {}, []
    for family in text_string_to_metric_families(f"{lines}\n"):
        for sample in family.samples:
            if sample.name == "bedplate_scoring_open":
                open_ = int(sample.value)
            elif sample.name == "bedplate_scoring_requests_total":
                statuses[sample.labels["status"]] = int(sample.value)
            elif sample.name == "bedplate_scoring_seconds_bucket":
                within.append((float(sample.labels["le"]), int(sample.value)))
    return Counted(open_, statuses, within)
