"""Hypothesis in two profiles: the same examples in every run by default, fresh ones with HYPOTHESIS_PROFILE=fresh."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))  # for wire_reading, which all tests here share

_COMMON = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("derandomized", _COMMON, derandomize=True)
settings.register_profile("fresh", _COMMON, derandomize=False, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "derandomized"))
