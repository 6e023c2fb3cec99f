"""What `GET /state` shows (docs/operating.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.shown_url import shown_url
from interceptor.states import State

if TYPE_CHECKING:
    from interceptor.ambassador import Ambassador


def state_document(ambassador: Ambassador) -> dict[str, object]:
    """Return what stands there now."""
    recovery, sequencer, journal = ambassador.recovery, ambassador.sequencer, ambassador.journal
    progress = ambassador.projector.progress
    return {
        "state": ambassador.machine.state.public,
        "reason": ambassador.machine.state.value,
        "holds": sorted(ambassador.hold.causes),
        "problem": recovery.standing.problem or (str(journal.failure) if journal.failure else None),
        "note": recovery.standing.note,
        "log_unavailable": str(journal.unavailable) if journal.unavailable else None,
        "versions": {
            "first": journal.backend.first_version,
            "last": sequencer.last_version,
            "delivered": ambassador.projector.delivered_version,
            "answered": ambassador.gate.answered_version,
            "durable": journal.durable_version,
        },
        "held": ambassador.admission.held,
        "in_flight": sequencer.outstanding_events,
        "unrecorded_in_flight": ambassador.passages.reads_in_flight,
        "tunnels": ambassador.passages.tunnels,
        "connections": ambassador.listener.connections,
        "target": {
            "address": str(ambassador.settings.target),
            "incarnation": recovery.standing.identity,
            "incarnations": recovery.standing.incarnations,
            "since": recovery.standing.since_s,
            "pid": ambassador.supervisor.pid if ambassador.supervisor else None,
            "serving_pid": ambassador.serving.pid,
            "supervised": ambassador.supervisor is not None,
            "boot_id_problem": ambassador.boot_id.problem if ambassador.boot_id is not None else None,
            "serial": any(lane.serial for lane in ambassador.projector.lanes),
        },
        "order": ambassador.settings.order.text,
        "lanes": [
            {"pending": lane.pending, "connected": lane.connected, "serial": lane.serial}
            for lane in ambassador.projector.lanes
        ],
        "log": {
            "url": shown_url(ambassador.settings.log_url),
            "durability": ambassador.settings.durability.value,
            "size_bytes": journal.backend.size_bytes,
        },
        "quarantined": sorted(recovery.quarantined.versions),
        "uncertain": list(recovery.standing.uncertain) if recovery.standing.uncertain else None,
        "projection": progress.as_json() if progress and ambassador.machine.state is State.PROJECTING else None,
        "last_recovery": recovery.standing.last_recovery,
        "checkpoints": ambassador.checkpoints.describe(),
        "last_checkpoint": newest.as_fact() if (newest := ambassador.checkpoints.catalogue.newest) else None,
    }
