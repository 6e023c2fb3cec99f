"""What the thesis reports of its prototype (Go, 2 vCPU): measured elsewhere, and always shown as such."""

P95_AT_50_CLIENTS_MS = {"direct": 5.11, "memory log": 38.55, "SQL log": 151.94}
SATURATION_CLIENTS = {"direct": (6000, 10_000), "memory log": (2000, 2700), "SQL log": (300, 500)}
RECOVERY_S = {1000: 0.99, 10_000: 0.98, 20_000: 856.67}
DETECTION_S = 1.0

MEASURED_ELSEWHERE = "the thesis' prototype, measured elsewhere"
