"""Prometheus metrics: the plain counters of the data plane, folded only when somebody scrapes."""

from __future__ import annotations

import resource
from collections.abc import Iterable
from dataclasses import asdict

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

import hotpath
from interceptor.ambassador import Ambassador
from interceptor.checkpoint.blackout import DRAIN, FREEZE, RESUME
from interceptor.counters import Histogram
from interceptor.memory_bound import memory_bound_bytes
from interceptor.states import State
from storage_backends.options import LogOptions

CONTENT_TYPE = CONTENT_TYPE_LATEST


def render_metrics(ambassador: Ambassador) -> bytes:
    """Return the exposition text."""
    registry = CollectorRegistry()
    registry.register(_AmbassadorCollector(ambassador))
    return generate_latest(registry)


class _AmbassadorCollector(Collector):
    def __init__(self, ambassador: Ambassador) -> None:
        self._ambassador = ambassador

    def collect(self) -> Iterable[Metric]:
        yield from self._traffic()
        yield from self._memory()
        yield from self._lanes()
        yield from self._versions()
        yield from self._holding()
        yield from self._recovery()
        yield from self._checkpoints()
        yield from self._process()

    def _traffic(self) -> Iterable[Metric]:
        counters = self._ambassador.counters
        requests = CounterMetricFamily("interceptor_requests", "Requests by the way that they went.", labels=["way"])
        requests.add_metric(["recorded"], self._ambassador.sequencer.recorded)
        requests.add_metric(["read"], counters.unrecorded)
        requests.add_metric(["bypass"], counters.bypassed)
        requests.add_metric(["upgrade"], counters.tunnels)
        yield requests
        answers = CounterMetricFamily(
            "interceptor_answers", "Answers of the target by status class.", labels=["status_class"]
        )
        for status_class in range(1, 6):
            answers.add_metric([f"{status_class}xx"], counters.answers_by_class[status_class])
        yield answers
        refusals = CounterMetricFamily("interceptor_refusals", "Answers of our own by status.", labels=["status"])
        for status, count in sorted(counters.refused.items()):
            refusals.add_metric([str(status)], count)
        yield refusals
        yield _histogram("interceptor_request_duration_seconds", "From a request to its answer.", counters.request)
        yield CounterMetricFamily(
            "interceptor_connections_opened", "Client connections accepted.", value=counters.connections_opened
        )
        failed = CounterMetricFamily(
            "interceptor_handshakes_failed", "Connections whose PROXY header or TLS handshake failed.", labels=["what"]
        )
        for what in ("proxy", "tls"):
            failed.add_metric([what], counters.handshakes_failed[what])
        yield failed
        reloads = CounterMetricFamily(
            "interceptor_tls_reloads", "Changed certificates, by whether they could be used.", labels=["result"]
        )
        for result in ("loaded", "failed"):
            reloads.add_metric([result], counters.tls_reloads[result])
        yield reloads
        yield GaugeMetricFamily(
            "interceptor_connections", "Client connections now.", value=self._ambassador.listener.connections
        )
        yield GaugeMetricFamily(
            "interceptor_tunnels", "Upgraded connections now.", value=self._ambassador.passages.tunnels
        )
        yield CounterMetricFamily(
            "interceptor_lane_connections", "Connections of the ordered lanes.", value=counters.lane_connections
        )
        yield CounterMetricFamily(
            "interceptor_resent", "Events sent again behind an announced close.", value=counters.resent
        )
        yield CounterMetricFamily(
            "interceptor_answer_spooled_bytes", "Bytes of answers that waited in files.", value=counters.spooled_bytes
        )

    def _memory(self) -> Iterable[Metric]:
        budget = self._ambassador.gate.budget
        yield GaugeMetricFamily(
            "interceptor_answers_waiting_bytes", "Answers that wait for clients in memory.", value=budget.memory_bytes
        )
        yield GaugeMetricFamily(
            "interceptor_answers_spooled_bytes", "Answers that wait for clients in files.", value=budget.spool_bytes
        )
        yield GaugeMetricFamily(
            "interceptor_intake_bytes", "Requests that are being read.", value=self._ambassador.listener.intake_bytes
        )
        settings = self._ambassador.settings
        ring_bytes_max = settings.log_options.get("ring_bytes_max", LogOptions().ring_bytes_max)
        bound = memory_bound_bytes(settings.limits, ring_bytes_max, tls=settings.listen_tls is not None)
        yield GaugeMetricFamily(
            "interceptor_memory_bound_bytes", "What the limits let this process take at most.", value=bound
        )

    def _lanes(self) -> Iterable[Metric]:
        counters = self._ambassador.counters
        pending = [lane.pending for lane in self._ambassador.projector.lanes]
        yield GaugeMetricFamily("interceptor_lanes", "Ordered lanes.", value=len(pending))
        yield GaugeMetricFamily(
            "interceptor_lane_pending_events", "Events not answered, over all lanes.", value=sum(pending)
        )
        yield GaugeMetricFamily(
            "interceptor_lane_longest_pending_events",
            "Events not answered, of the lane that has most.",
            value=max(pending),
        )
        yield CounterMetricFamily(
            "interceptor_lane_waiting_seconds", "Time in which events waited behind a slow one in the only lane.",
            value=counters.lane_waiting_s,
        )  # fmt: skip
        yield CounterMetricFamily(
            "interceptor_events_without_key",
            "Recorded requests without the key of --order.",
            value=counters.without_key,
        )

    def _versions(self) -> Iterable[Metric]:
        ambassador = self._ambassador
        journal = ambassador.journal
        versions = GaugeMetricFamily("interceptor_version", "The version that a stage has reached.", labels=["stage"])
        versions.add_metric(["first"], journal.backend.first_version)
        versions.add_metric(["last"], ambassador.sequencer.last_version)
        versions.add_metric(["delivered"], ambassador.projector.delivered_version)
        versions.add_metric(["answered"], ambassador.gate.answered_version)
        versions.add_metric(["durable"], journal.durable_version)
        newest = ambassador.checkpoints.catalogue.newest
        versions.add_metric(["checkpoint"], newest.version if newest is not None else 0)
        yield versions
        yield GaugeMetricFamily(
            "interceptor_durable_lag_events",
            "Events that are not durable yet.",
            value=max(0, ambassador.sequencer.last_version - journal.durable_version),
        )
        yield GaugeMetricFamily(
            "interceptor_durable_lag_seconds", "Age of the oldest record not durable yet.", value=journal.durable_lag_s
        )
        ring = journal.backend.ring
        yield GaugeMetricFamily("interceptor_ring_events", "Events in the ring.", value=ring.events)
        yield GaugeMetricFamily("interceptor_ring_bytes", "Memory of the ring.", value=ring.size_bytes)
        counters = ambassador.counters
        yield _histogram("interceptor_log_spill_events", "Events that one sync made durable.", counters.spill_events)
        yield _histogram("interceptor_log_spill_bytes", "Bytes that one sync made durable.", counters.spill_bytes)
        yield GaugeMetricFamily("interceptor_log_bytes", "Size of the log.", value=journal.backend.size_bytes)
        yield GaugeMetricFamily(
            "interceptor_log_available", "Whether the log takes records.", value=int(journal.unavailable is None)
        )
        yield GaugeMetricFamily(
            "interceptor_gate_waiting", "Answers that wait to be durable.", value=ambassador.gate.waiting
        )
        yield CounterMetricFamily(
            "interceptor_commit_delays", "Syncs that waited for more to cover.", value=ambassador.counters.commit_delays
        )
        yield _histogram("interceptor_log_sync_seconds", "Duration of the log's syncs.", ambassador.counters.sync)

    def _holding(self) -> Iterable[Metric]:
        ambassador = self._ambassador
        counters = ambassador.counters
        state = GaugeMetricFamily("interceptor_state", "1 for the present state.", labels=["state"])
        for each in State:
            state.add_metric([each.name.lower()], int(ambassador.machine.state is each))
        yield state
        yield GaugeMetricFamily("interceptor_held_requests", "Requests held now.", value=ambassador.admission.held)
        yield GaugeMetricFamily(
            "interceptor_held_bytes", "Bytes of the requests held now.", value=ambassador.admission.held_bytes
        )
        yield GaugeMetricFamily(
            "interceptor_held_oldest_seconds",
            "How long the oldest held request has waited.",
            value=ambassador.admission.oldest_held_s,
        )
        yield _histogram("interceptor_hold_seconds", "How long requests were held.", counters.hold_time)
        ended = CounterMetricFamily("interceptor_holds_ended", "Holds by how they ended.", labels=["reason"])
        for reason in ("drained", "full", "expired", "client_gone", "failed", "too_soon", "dry_run"):
            ended.add_metric([reason], counters.holds_ended[reason])
        yield ended
        yield GaugeMetricFamily(
            "interceptor_in_flight_events",
            "Events that are not answered yet.",
            value=ambassador.sequencer.outstanding_events,
        )
        limits = asdict(ambassador.settings.limits) | ambassador.settings.log_options
        limit = GaugeMetricFamily("interceptor_limit", "Limits in force, in their own units.", labels=["limit"])
        reached = CounterMetricFamily("interceptor_limit_reached", "How often a limit was reached.", labels=["limit"])
        for name, value in limits.items():
            limit.add_metric([name], value)
            reached.add_metric([name], counters.limits_reached[name])
        yield limit
        yield reached

    def _recovery(self) -> Iterable[Metric]:
        ambassador = self._ambassador
        counters = ambassador.counters
        yield CounterMetricFamily("interceptor_recoveries", "Recoveries of the target.", value=counters.recoveries)
        yield _histogram("interceptor_recovery_seconds", "From a death to Active again.", counters.recovery)
        yield _histogram(
            "interceptor_recovery_target_seconds", "From a death to a target that is ready.",
            counters.recovery_target_back,
        )  # fmt: skip
        yield _histogram(
            "interceptor_recovery_projection_seconds", "Projecting the log in a recovery.", counters.recovery_projection
        )
        yield _histogram("interceptor_recovery_hold_seconds", "The longest hold of a recovery.", counters.recovery_hold)
        yield _histogram("interceptor_detection_seconds", "From a lost lane to the verdict.", counters.detection)
        yield CounterMetricFamily("interceptor_replayed_events", "Events delivered again.", value=counters.replayed)
        yield CounterMetricFamily(
            "interceptor_divergences", "Replayed events answered otherwise.", value=counters.divergences
        )
        yield CounterMetricFamily(
            "interceptor_serving_process_exits", "Deaths seen by the process that served the lane.",
            value=counters.serving_process_exits,
        )  # fmt: skip
        yield CounterMetricFamily(
            "interceptor_boot_id_failures", "Questions for the boot id without an answer.",
            value=counters.boot_id_failures,
        )  # fmt: skip
        yield CounterMetricFamily("interceptor_quarantined_events", "Events quarantined.", value=counters.quarantined)
        yield CounterMetricFamily(
            "interceptor_uncertain_events", "Events of which it is unknown whether they were applied.",
            value=counters.uncertain,
        )  # fmt: skip
        yield GaugeMetricFamily(
            "interceptor_incarnations", "Incarnations since our start.", value=ambassador.recovery.standing.incarnations
        )

    def _checkpoints(self) -> Iterable[Metric]:
        checkpoints, counters = self._ambassador.checkpoints, self._ambassador.counters
        yield CounterMetricFamily("interceptor_checkpoints", "Checkpoints taken.", value=counters.checkpoints)
        yield CounterMetricFamily(
            "interceptor_checkpoint_failures", "Checkpoints that were due and not taken.",
            value=checkpoints.policy.failures_total,
        )  # fmt: skip
        yield _histogram(
            "interceptor_checkpoint_blackout_seconds",
            "How long requests were held for a checkpoint.",
            counters.checkpoint_blackout,
        )
        newest = checkpoints.catalogue.newest
        phases = GaugeMetricFamily(
            "interceptor_checkpoint_phase_seconds", "The last checkpoint's blackout by phase.", labels=["phase"]
        )
        taken = newest.phases_s if newest is not None else {}
        for phase in {DRAIN: None, FREEZE: None, RESUME: None, **taken}:
            phases.add_metric([phase], taken.get(phase, 0.0))
        yield phases
        yield GaugeMetricFamily(
            "interceptor_checkpoint_bytes", "Size of all checkpoints that are kept.",
            value=sum(entry.size_bytes for entry in checkpoints.catalogue.entries),
        )  # fmt: skip
        yield GaugeMetricFamily(
            "interceptor_checkpoint_timestamp_seconds", "When the newest was taken, Unix time; 0 without one.",
            value=newest.time_s if newest is not None else 0,
        )  # fmt: skip
        yield GaugeMetricFamily(
            "interceptor_recovery_estimate_seconds", "A recovery, if the target died now.",
            value=checkpoints.policy.estimate_s,
        )  # fmt: skip
        yield CounterMetricFamily("interceptor_rests", "Times that the idle target was stopped.", value=counters.rests)
        yield _histogram("interceptor_wake_seconds", "From the request that ended a rest to Active.", counters.wake)

    def _process(self) -> Iterable[Metric]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        yield CounterMetricFamily(
            "process_cpu_seconds", "User and system CPU time.", value=usage.ru_utime + usage.ru_stime
        )
        yield GaugeMetricFamily("process_resident_memory_bytes", "Resident memory.", value=_resident_bytes())
        yield GaugeMetricFamily("process_start_time_seconds", "Start, Unix time.", value=self._ambassador.started_s)
        yield InfoMetricFamily(
            "interceptor",
            "How it runs.",
            value={
                "durability": self._ambassador.settings.durability.value,
                "hot_path": hotpath.execution.partition(":")[0],
            },
        )


def _histogram(name: str, text: str, histogram: Histogram) -> HistogramMetricFamily:
    buckets = []
    cumulative = 0
    for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
        cumulative += count
        buckets.append(("+Inf" if bound == float("inf") else repr(bound), cumulative))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=histogram.total)


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
