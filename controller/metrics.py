"""What Prometheus sees of the controller."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """One registry for each controller."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        name = "interceptor_controller_"
        self.reconciles = Counter(
            f"{name}reconciles", "Looks at an object, by result.", ["kind", "result"], registry=self.registry
        )
        self.reconcile_seconds = Histogram(
            f"{name}reconcile_seconds", "Time for one look at an object.", ["kind"], registry=self.registry
        )
        self.queue = Gauge(f"{name}queue_objects", "Objects that wait to be looked at.", registry=self.registry)
        self.refusals = Counter(
            f"{name}refusals", "What users asked for and could not be done.", ["reason"], registry=self.registry
        )
        self.api_requests = Counter(
            f"{name}api_requests", "Requests to the Kubernetes API, but for watches.", ["verb", "resource", "status"],
            registry=self.registry,
        )  # fmt: skip
        self.admin_requests = Counter(
            f"{name}admin_requests", "Requests to sidecars.", ["endpoint", "status"], registry=self.registry
        )
        self.failures = Counter(
            f"{name}target_failures", "Target containers seen down.", ["reason"], registry=self.registry
        )
        self.recoveries = Counter(
            f"{name}recoveries", "Recoveries seen, by who did them.", ["by"], registry=self.registry
        )
        self.checkpoints = Counter(f"{name}checkpoints", "Checkpoints asked for.", ["result"], registry=self.registry)
