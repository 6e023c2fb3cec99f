"""Names that users see: annotations, ports, labels."""

from __future__ import annotations

PREFIX = "crsc.io/"
ENABLE = "crsc.io/checkpoint-restore"

# On the template of a workload, and so on its Pods: what the controller has added, as JSON.
INJECTED = "crsc.io/injected"
# On a Service: the target ports from before, as JSON {"80/TCP": 8000}.
ORIGINAL_TARGET_PORTS = "crsc.io/original-target-ports"
# On a Service: it leads to a Pod that is not ready because we have said so.
PUBLISHED = "crsc.io/publishes-not-ready"

SIDECAR = "interceptor"
LISTEN_PORT = 8001
ADMIN_PORT = 8002
LOG_DIRECTORY = "/var/lib/interceptor"
TOKEN_DIRECTORY = "/etc/interceptor/admin"

MANAGER = "interceptor-controller"
# The resource is checkpoints.crsc.io, so the group is what stands behind its name.
GROUP = "crsc.io"
VERSION = "v1alpha1"

WORKLOADS = {"Deployment": "deployments", "StatefulSet": "statefulsets"}
