"""Tests import the sources: they put fakes where compiled code insists on the real classes.

Processes that tests start run as a user's do, compiled where the installation has compiled (see `hotpath`).
"""

import os

os.environ["INTERCEPTOR_COMPILED"] = "0"
import hotpath  # noqa: F401

del os.environ["INTERCEPTOR_COMPILED"]
