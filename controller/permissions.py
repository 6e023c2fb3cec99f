"""What the controller may do, and with what the API client refuses to do anything else.

The chart's RBAC grants exactly these; a test compares the two.
"""

from __future__ import annotations

# What kopf lists and watches to tell us of every change.
WATCHED = frozenset({
    ("apps", "deployments"), ("apps", "statefulsets"), ("", "services"), ("", "pods"), ("crsc.io", "checkpoints"),
})  # fmt: skip

REQUESTED = frozenset({
    # The sidecar in the template, and out of it.
    ("apps", "deployments", "patch"), ("apps", "statefulsets", "patch"),
    # The target port.
    ("", "services", "patch"),
    # The admin's token: made and removed, never read.
    ("", "secrets", "create"), ("", "secrets", "delete"),
    # What `kubectl describe` shows.
    ("", "events", "create"),
    # From the annotation crsc.io/checkpoint-interval; and what has become of one.
    ("crsc.io", "checkpoints", "create"), ("crsc.io", "checkpoints", "patch"), ("crsc.io", "checkpoints", "delete"),
    ("crsc.io", "checkpoints/status", "patch"),
    # One controller at a time.
    ("coordination.k8s.io", "leases", "get"), ("coordination.k8s.io", "leases", "create"),
    ("coordination.k8s.io", "leases", "patch"),
})  # fmt: skip

PERMISSIONS = REQUESTED | {(*resource, verb) for resource in WATCHED for verb in ("list", "watch")}
