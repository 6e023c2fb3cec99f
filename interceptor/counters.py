"""What is counted on the hot path: plain integers, folded into Prometheus metrics only when somebody scrapes.

Histograms are lists of per-bucket counts; `bisect` finds the bucket.  Labels have few values: methods are folded to a
known set, statuses to their class.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

REQUEST_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
SYNC_BUCKETS_S = tuple(0.001 * 2**power for power in range(14))
RECOVERY_BUCKETS_S = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0)
SPILL_BUCKETS_EVENTS = tuple(4**power for power in range(9))
SPILL_BUCKETS_BYTES = tuple(256 * 4**power for power in range(10))
DETECTION_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0)


class Histogram:
    """Counts per bucket, not cumulative; the last one is +Inf."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Counters:
    """One object for the whole data plane."""

    __slots__ = (
        "answers_by_class",
        "boot_id_failures",
        "bypassed",
        "checkpoint_blackout",
        "checkpoints",
        "commit_delays",
        "connections_opened",
        "detection",
        "divergences",
        "handshakes_failed",
        "hold_time",
        "holds_ended",
        "lane_connections",
        "lane_waiting_s",
        "limits_reached",
        "now_s",
        "quarantined",
        "recoveries",
        "recovery",
        "recovery_hold",
        "recovery_projection",
        "recovery_target_back",
        "refused",
        "replayed",
        "request",
        "resent",
        "rests",
        "serving_process_exits",
        "spill_bytes",
        "spill_events",
        "spooled_bytes",
        "sync",
        "tls_reloads",
        "tunnels",
        "uncertain",
        "unrecorded",
        "wake",
        "without_key",
    )

    def __init__(self) -> None:
        # The time (monotonic) of what is being read from the target: one look at the clock for many answers.
        self.now_s = 0.0
        self.connections_opened = 0
        self.commit_delays = 0
        self.unrecorded = 0
        self.bypassed = 0
        self.tunnels = 0
        self.answers_by_class = [0] * 6
        self.refused: Counter[int] = Counter()
        self.limits_reached: Counter[str] = Counter()
        self.handshakes_failed: Counter[str] = Counter()
        self.tls_reloads: Counter[str] = Counter()
        self.holds_ended: Counter[str] = Counter()
        self.request = Histogram(REQUEST_BUCKETS_S)
        self.hold_time = Histogram(REQUEST_BUCKETS_S)
        self.sync = Histogram(SYNC_BUCKETS_S)
        self.spill_events = Histogram(SPILL_BUCKETS_EVENTS)
        self.spill_bytes = Histogram(SPILL_BUCKETS_BYTES)
        self.recovery = Histogram(RECOVERY_BUCKETS_S)
        self.recovery_target_back = Histogram(RECOVERY_BUCKETS_S)
        self.recovery_projection = Histogram(RECOVERY_BUCKETS_S)
        self.recovery_hold = Histogram(RECOVERY_BUCKETS_S)
        self.detection = Histogram(DETECTION_BUCKETS_S)
        self.checkpoint_blackout = Histogram(RECOVERY_BUCKETS_S)
        self.checkpoints = 0
        self.rests = 0
        self.wake = Histogram(RECOVERY_BUCKETS_S)
        self.recoveries = 0
        self.replayed = 0
        self.divergences = 0
        self.quarantined = 0
        self.uncertain = 0
        self.resent = 0
        self.serving_process_exits = 0
        self.boot_id_failures = 0
        self.lane_connections = 0
        self.lane_waiting_s = 0.0
        self.without_key = 0
        self.spooled_bytes = 0
