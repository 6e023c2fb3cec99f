"""Several lanes, and the target dies while parts of their answers are with the clients (rules 3, 5 and 8)."""

from __future__ import annotations

import pytest

from interceptor.order import Order
from interceptor.states import State
from interceptor.wire import chunked
from tests.interceptor.fakes import FakeClient, FakeDetector, ok, until
from tests.interceptor.recovering import recovering
from tests.interceptor.target import Connection

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
ORDERS = ["key:path:/{key}/*", "arrival"]


class Halving:
    """Stops in the middle of its answer while `stops`.  /chunked/… and /length/… are framed so.

    `content` is what it answers, by path; its own path where nothing else is said.
    """

    def __init__(self) -> None:
        self.stops = True
        self.content: dict[str, bytes] = {}

    async def serve(self, connection: Connection) -> None:
        while True:
            (request,) = await connection.requests()
            path = request.split(" ")[1]
            content = self.content.get(path, path.encode())
            if path.startswith("/whole/"):
                connection.write(ok(content))
                continue
            head, pieces = self._framed(path, content)
            connection.write(head, pieces[0])
            if self.stops:
                await connection.reader.read()
                return
            connection.write(*pieces[1:])

    @staticmethod
    def _framed(path: str, content: bytes) -> tuple[bytes, tuple[bytes, bytes]]:
        half = len(content) // 2
        first, second = content[:half], content[half:]
        if path.startswith("/length/"):
            return LENGTH % len(content), (first, second)
        return CHUNKED, (chunked.encode_piece(first), chunked.encode_whole(second, b""))


def content_of(client: FakeClient) -> bytes:
    """What the client has got, out of its chunks."""
    head, _, content = client.output.partition(b"\r\n\r\n")
    if b"chunked" not in head:
        return content
    whole = b""
    while content:
        size, _, content = content.partition(b"\r\n")
        whole += content[: int(size, 16)]
        content = content[int(size, 16) + 2 :]
    return whole


async def half_answered(clients: list[FakeClient]) -> None:
    await until(lambda: all(content_of(client) for client in clients))
    assert [client.finishes for client in clients] == [0] * len(clients)


@pytest.mark.parametrize("order", ORDERS)
async def test_every_lane_goes_on_where_its_answer_broke_off(order: str) -> None:
    """The new incarnation answers the same events again, and nobody notices."""
    target, detector = Halving(), FakeDetector("life-1")
    paths = ["/chunked/1/", "/length/2/", "/other/3/"]
    async with recovering(
        target.serve, detector=detector, order=Order.parse(order), lanes=64, answer_whole_bytes_max=4
    ) as rig:
        await rig.active()
        clients = rig.request(*paths)
        await half_answered(clients)
        behind = rig.request("/whole/4/", "/chunked/5/")
        target.stops = False
        detector.identity = "life-2"
        rig.target.reset_all()
        everybody = [*clients, *behind]
        await until(lambda: all(client.finishes == 1 for client in everybody))
        assert [content_of(client).decode() for client in everybody] == [*paths, "/whole/4/", "/chunked/5/"]
        assert [client.output.count(b"HTTP/1.1 ") for client in everybody] == [1] * len(everybody)
        await rig.active()
        assert rig.plane.sequencer.outstanding_events == 0
        assert rig.recovery.standing.uncertain is None


@pytest.mark.parametrize("order", ORDERS)
async def test_only_the_client_whose_answer_is_another_one_now_is_cut(order: str) -> None:
    """Rule 8: never patched together; rule 6: the others go on."""
    target, detector = Halving(), FakeDetector("life-1")
    async with recovering(
        target.serve, detector=detector, order=Order.parse(order), lanes=64, answer_whole_bytes_max=4
    ) as rig:
        await rig.active()
        same, other = rig.request("/chunked/1/", "/length/2/")
        await half_answered([same, other])
        before = other.output
        target.stops = False
        target.content["/length/2/"] = b"/another/2/"
        detector.identity = "life-2"
        rig.target.reset_all()
        await until(lambda: same.finishes == 1 and other.aborted)
        assert other.output == before
        assert (content_of(same), same.aborted) == (b"/chunked/1/", False)
        await rig.active()
        assert rig.plane.sequencer.outstanding_events == 0, "rule 3: the event itself has its outcome"


async def test_where_the_target_lives_only_the_lost_connections_client_is_cut() -> None:
    """RFC 9110 §9.2.2: the same incarnation is not asked again, and half an answer is never called the whole."""
    target = Halving()
    async with recovering(target.serve, order=Order.parse(ORDERS[0]), lanes=64, answer_whole_bytes_max=4) as rig:
        await rig.active()
        cut, goes_on = rig.request("/chunked/1/", "/length/2/")
        await half_answered([cut, goes_on])
        (connection,) = [one for one in rig.target.connections if one.asked == ["GET /chunked/1/"]]
        connection.reset()
        await until(lambda: cut.aborted)
        assert rig.recovery.standing.uncertain == (1, 1)
        assert not goes_on.aborted
        target.stops = False
        assert rig.recovery.standing.incarnations == 1
        await until(lambda: rig.machine.state is State.ACTIVE)
        third = rig.request("/chunked/3/")
        await until(lambda: third[0].finishes == 1)
        assert content_of(third[0]) == b"/chunked/3/"


async def test_a_target_that_dies_twice_in_the_same_answers() -> None:
    """What the client has got already is told from what it lacks by the running digest, in each life anew."""
    target, detector = Halving(), FakeDetector("life-1")
    paths = ["/chunked/1/", "/length/2/"]
    async with recovering(
        target.serve, detector=detector, order=Order.parse(ORDERS[0]), lanes=64, answer_whole_bytes_max=4
    ) as rig:
        await rig.active()
        clients = rig.request(*paths)
        await half_answered(clients)
        first_life = len(rig.target.connections)
        detector.identity = "life-2"
        rig.target.reset_all()
        # The second life gets the suspects one at a time, and dies of the first one.
        await until(lambda: any(rig.target.asked[first_life:]))
        target.stops = False
        detector.identity = "life-3"
        rig.target.reset_all()
        await until(lambda: all(client.finishes == 1 for client in clients))
        assert [content_of(client).decode() for client in clients] == paths
