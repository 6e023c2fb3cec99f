"""The application for WSGI servers (gunicorn): one incarnation for each worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from bench.chaos.target.application import Application
from bench.chaos.target.control import Control, after, before


def make_app() -> Callable[..., Iterable[bytes]]:
    """Return one incarnation."""
    control = Control.from_environment()
    control.begin()
    application = Application(control.warm_up_s)

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read()
        query = environ["QUERY_STRING"]
        order = control.order() if "op=" in query else None
        before(order)
        status, content = application.answer(environ["REQUEST_METHOD"], f"{environ['PATH_INFO']}?{query}", body)
        after(order)
        start_response(f"{status} Chaos", [("Content-Length", str(len(content)))])
        return [content]

    return app
