"""Which lane an event takes, where there are several.

`LaneByKey` keeps the order of each key; `AnyFreeLane` gives the next event to whichever lane has nothing to do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import xxhash

from interceptor.counters import Counters
from interceptor.delivery import Delivery
from interceptor.exchange import RecordedExchange
from interceptor.lane import Lane
from interceptor.order import Key, Order, OrderKind
from storage_backends.records import Event

_hash = xxhash.xxh3_64_intdigest


class Distribution(Protocol):
    """Hands events to lanes, in version order."""

    @property
    def queued(self) -> int:
        """Events that no lane has got yet."""

    def send(self, batch: Sequence[Delivery]) -> None:
        """Deliver, behind everything of the same order that came before."""

    def take_back(self) -> list[Delivery]:
        """Return what no lane has got."""

    def refuse_overdue(self, arrived_before_s: float) -> None:
        """Tell the clients of events that no lane has got, and that came before that."""

    def suspects(self, sent_unanswered: Sequence[Delivery]) -> list[Delivery]:
        """Return those that the target may have been working on: the first of each lane."""

    def on_room(self, wake: Callable[[], None] | None) -> None:
        """Call `wake` whenever a lane has got answers, or nobody (None)."""


def lane_count(order: Order, lanes: int) -> int:
    """Return how many lanes to make: requests without the key have one of their own beside those of the keys."""
    return lanes + 1 if order.kind is OrderKind.KEY else lanes


def distribution(order: Order, lanes: Sequence[Lane], counters: Counters) -> Distribution | None:
    """Return what chooses among the lanes; None for the one lane of the total order."""
    if order.kind is OrderKind.TOTAL:
        return None
    if order.key is not None:
        return LaneByKey(lanes, order.key, counters)
    return AnyFreeLane(lanes)


class LaneByKey:
    """The key's hash, which is the same in every run, chooses the lane; the last lane takes what has no key."""

    queued = 0

    def __init__(self, lanes: Sequence[Lane], key: Key, counters: Counters) -> None:
        self._lanes = lanes
        self._key = key
        self._keyed_lanes = len(lanes) - 1
        self._counters = counters
        self._counted_version = 0

    def position(self, event: Event) -> int:
        """Return the position of the event's lane."""
        key = self._key(event.head)
        return self._keyed_lanes if key is None else _hash(key) % self._keyed_lanes

    def send(self, batch: Sequence[Delivery]) -> None:
        by_lane: dict[int, list[Delivery]] = {}
        position = self.position
        for delivery in batch:
            at = position(delivery.event)
            if at in by_lane:
                by_lane[at].append(delivery)
            else:
                by_lane[at] = [delivery]
        self._count_without_key(by_lane.get(self._keyed_lanes, ()))
        for at, deliveries in by_lane.items():
            self._lanes[at].send(deliveries)

    def take_back(self) -> list[Delivery]:
        return []

    def refuse_overdue(self, arrived_before_s: float) -> None:
        """The lanes have got everything."""

    def suspects(self, sent_unanswered: Sequence[Delivery]) -> list[Delivery]:
        first: dict[int, Delivery] = {}
        for delivery in sent_unanswered:
            first.setdefault(self.position(delivery.event), delivery)
        return list(first.values())

    def on_room(self, wake: Callable[[], None] | None) -> None:
        for lane in self._lanes:
            lane.on_room = wake

    def _count_without_key(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            # Live ones, and each only once: they come again, with the same version, to the next incarnation.
            version = delivery.event.version
            if version > self._counted_version and isinstance(delivery, RecordedExchange):
                self._counted_version = version
                self._counters.without_key += 1


class AnyFreeLane:
    """One event at a time to each lane, so that none waits behind a slow one while another lane is free."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self._lanes = lanes
        self._queue: deque[Delivery] = deque()
        self._wake: Callable[[], None] | None = None
        for lane in lanes:
            lane.on_room = partial(self._has_room, lane)

    @property
    def queued(self) -> int:
        return len(self._queue)

    def send(self, batch: Sequence[Delivery]) -> None:
        self._queue.extend(batch)
        for lane in self._lanes:
            if not self._queue:
                return
            if not lane.pending and not lane.lost:
                lane.send([self._queue.popleft()])

    def take_back(self) -> list[Delivery]:
        queued = list(self._queue)
        self._queue.clear()
        return queued

    def refuse_overdue(self, arrived_before_s: float) -> None:
        for delivery in self._queue:
            if not delivery.take_overdue(arrived_before_s):
                return

    def suspects(self, sent_unanswered: Sequence[Delivery]) -> list[Delivery]:
        return list(sent_unanswered)

    def on_room(self, wake: Callable[[], None] | None) -> None:
        self._wake = wake

    def _has_room(self, lane: Lane) -> None:
        if self._queue and not lane.pending and not lane.lost:
            lane.send([self._queue.popleft()])
        if self._wake is not None:
            self._wake()
