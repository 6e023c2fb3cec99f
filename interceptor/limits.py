"""Every limit: its name with its unit, its default, and what happens when it is reached.

Each field is an option of `interceptor run` (`--hold-requests-max`), an environment variable
(`INTERCEPTOR_HOLD_REQUESTS_MAX`), a key of the configuration file, and a sample of the metric `interceptor_limit`;
what was reached is mostly counted in `interceptor_limit_reached_total`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

MIB = 1024 * 1024


def _limit(default: float, meaning: str, least: int = 1) -> int:
    # The declared type of each field says whether fractions make sense.
    return field(default=default, metadata={"meaning": meaning, "least": least})  # type: ignore[return-value]


def _seconds(default: float, meaning: str) -> float:
    return field(default=default, metadata={"meaning": meaning, "least": 0})


@dataclass(frozen=True, slots=True)
class Limits:
    """What each buffer, queue and wait may grow to."""

    connections_max: int = _limit(16_384, "client connections; one more is closed at once")
    connections_per_address_max: int = _limit(
        4_096, "connections of one client address (IPv6: /64; not loopback); one more is closed at once"
    )
    requests_per_connection_max: int = _limit(100_000, "requests of one connection; the last answer closes it")
    handshake_timeout_s: float = _seconds(10.0, "PROXY header and TLS handshake; then the connection is closed")
    head_bytes_max: int = _limit(32_768, "request line and fields of a request; more is answered 431")
    target_bytes_max: int = _limit(8_192, "request target; more is answered 414")
    fields_max: int = _limit(128, "field lines of a request; more is answered 431")
    body_bytes_max: int = _limit(16 * MIB, "content of a recorded request, which is read whole; more is answered 413")
    small_chunks_max: int = _limit(8_192, "chunks of a content beyond one for each 16 bytes; more is answered 400")
    intake_bytes_max: int = _limit(256 * MIB, "contents being read, over all clients; more is answered 503")
    pipelined_requests_max: int = _limit(32, "unanswered requests of one connection; reading pauses there")
    head_timeout_s: float = _seconds(30.0, "from a head's first byte to its last; later is answered 408")
    body_timeout_s: float = _seconds(300.0, "from a content's first byte to its last; later is answered 408")
    rate_grace_s: float = _seconds(5.0, "how long a client may be slower than the minimum rates")
    head_bytes_per_s_min: int = _limit(240, "rate of a head that is being sent; slower is answered 408")
    body_bytes_per_s_min: int = _limit(240, "rate of a content that is being sent; slower is answered 408, or cut")
    answer_bytes_per_s_min: int = _limit(240, "rate at which a client takes an answer; slower is cut")
    client_idle_timeout_s: float = _seconds(75.0, "a connection without a request; then it is closed")
    client_write_timeout_s: float = _seconds(60.0, "a client that takes no byte of its answer; then it is cut")
    hold_requests_max: int = _limit(16_384, "requests held while not Active; one more is answered 503")
    hold_bytes_max: int = _limit(64 * MIB, "bytes of held requests; more is answered 503")
    hold_time_max_s: float = _seconds(30.0, "how long a request is held; then it is answered 503")
    in_flight_events_max: int = _limit(1_024, "events sequenced and not answered; more requests are held")
    in_flight_bytes_max: int = _limit(32 * MIB, "bytes of events not answered and answers not durable; more is held")
    answer_timeout_s: float = _seconds(120.0, "the target's answer to an event; then its client is answered 504")
    answer_head_bytes_max: int = _limit(65_536, "head of an answer; more is answered 502")
    answer_whole_bytes_max: int = _limit(65_536, "content that is collected and released in one piece; more streams")
    answer_memory_bytes_max: int = _limit(262_144, "an answer that waits for its client in memory; more is spooled")
    answer_spool_bytes_max: int = _limit(1024 * MIB, "an answer that waits for its client in a file; more cuts it")
    lanes_max: int = _limit(64, "ordered connections to the target (--lanes); more are refused at the start")
    replay_lane_events_max: int = _limit(1_024, "events under way in a replay, times the lanes; reading pauses there")
    replay_bytes_max: int = _limit(16 * MIB, "bytes of events under way in a replay; reading the log pauses there")
    answers_memory_bytes_max: int = _limit(
        256 * MIB, "answers that wait for all clients in memory; more is spooled, or the one with most is cut"
    )
    answers_spool_bytes_max: int = _limit(
        16 * 1024 * MIB, "answers that wait for all clients in files; more cuts the one that has most"
    )
    tunnels_max: int = _limit(4_096, "upgraded and bypassed connections; one more request is answered 503")
    pool_connections_max: int = _limit(256, "connections to the target for unrecorded requests; more requests wait")
    connect_timeout_s: float = _seconds(5.0, "a connection attempt to the target")
    boot_id_poll_s: float = _seconds(1.0, "between two questions for the boot id, with --detect http:PATH")
    boot_id_timeout_s: float = _seconds(5.0, "the answer with the boot id; later is none, and it is asked for again")
    ready_timeout_s: float = _seconds(60.0, "a target that is there and not ready; then it is restarted, or reported")
    lane_idle_max_s: float = _seconds(1.0, "an idle lane; it is replaced before its next use")
    recovery_min_interval_s: float = _seconds(
        0.0, "from a recovery to a death for which requests are held; after less they are answered 503"
    )
    drain_timeout_s: float = _seconds(30.0, "a drain; then the hold is taken back, or the shutdown goes on without")
    quarantine_after: int = _limit(
        3, "deaths with the same event as the first unanswered, twice as many in a replay; then it is quarantined"
    )
    checkpoint_bytes_max: int = _limit(4096 * MIB, "state that a checkpoint takes; more is given up, none is taken")
    checkpoint_timeout_s: float = _seconds(10.0, "taking a state while requests wait; then none is taken")
    checkpoint_store_timeout_s: float = _seconds(300.0, "storing a state while requests pass; then it is dropped")
    target_close_timeout_s: float = _seconds(
        1.0, "the target closing connections before a kubelet's checkpoint; then it is tried"
    )
    checkpoints_max: int = _limit(10, "checkpoints with state that are kept, pinned ones aside; then the oldest goes")
    restore_timeout_s: float = _seconds(60.0, "giving a checkpoint back; then the target is started anew without it")
    accept_wait_s: float = _seconds(
        1.0, "a seen process accepting an ordered connection before events are sent on it; then they are sent"
    )
    commit_delay_us: int = _limit(
        2_000,
        "with --durability strict a sync waits for the next client just answered, 4 times this for all; then it starts",
        least=0,
    )
    relaxed_window_ms: int = _limit(
        1_000,
        "with --durability relaxed, how far answers may be ahead of the flush; it starts after a tenth of this",
    )
    shutdown_delay_s: float = _seconds(0.0, "serving on after SIGTERM with readiness 503")
    target_stop_grace_s: float = _seconds(10.0, "a supervised target between SIGTERM and SIGKILL")

    @classmethod
    def meanings(cls) -> dict[str, str]:
        """Return what each limit bounds and what happens there, by its name."""
        return {item.name: item.metadata["meaning"] for item in fields(cls)}
