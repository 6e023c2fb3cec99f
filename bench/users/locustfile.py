"""A shop's customers in front of the example application; `python -m bench users` runs it, or `locust -f` this file.

Each user has a session, a cart whose body grows with every thing put in, looks more than it buys, and thinks between
two requests. Its counters are its own, so that it can check what it reads: an answer that has lost one of its own
increments is a failure.
"""

import json
import random

from locust import FastHttpUser, between, task


class Customer(FastHttpUser):
    """One customer. `wait_time` is how long it looks at a page."""

    wait_time = between(0.05, 0.5)
    connection_timeout = 10.0
    network_timeout = 30.0

    def on_start(self) -> None:
        """A new session: an id, and a cart with nothing in it."""
        self._draw = random.Random()
        self._session = f"{self._draw.getrandbits(64):016x}"
        self._cart: list[dict[str, object]] = []
        self._bought = 0
        self._put_in()

    @task(5)
    def look(self) -> None:
        """Read the cart, and compare it with what was put in."""
        with self.client.get(
            self._path(), name="GET /counters/CART", headers=self._fields(), catch_response=True
        ) as found:
            if found.status_code != 200:
                found.failure(f"status {found.status_code}")
            elif found.json()["value"] != self._bought:
                found.failure(f"{found.json()['value']} things in the cart, {self._bought} were put in")

    @task(3)
    def put_in(self) -> None:
        """One thing more: the body holds the whole cart, so it grows."""
        self._put_in()

    @task(1)
    def look_around(self) -> None:
        """Ask for the state of the whole shop."""
        self.client.get("/", name="GET /", headers=self._fields())

    @task(1)
    def check_out(self) -> None:
        """Empty the cart, and begin anew."""
        self.client.delete(self._path(), name="DELETE /counters/CART", headers=self._fields())
        self._cart, self._bought = [], 0
        self._put_in()

    def _put_in(self) -> None:
        self._cart.append({"item": f"teapot-{self._draw.randrange(10_000)}", "note": "x" * self._draw.randrange(200)})
        answer = self.client.post(
            self._path(),
            name="POST /counters/CART",
            data=json.dumps(self._cart),
            headers=self._fields("application/json"),
        )
        if answer.status_code == 200:
            self._bought += 1

    def _path(self) -> str:
        return f"/counters/cart-{self._session}"

    def _fields(self, content_type: str = "") -> dict[str, str]:
        fields = {"Cookie": f"session={self._session}; theme=dark", "Accept": "application/json"}
        return fields | ({"Content-Type": content_type} if content_type else {})
