"""Clusters to test against."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import kopf
import pytest

pytest.importorskip("kmock", reason="the Kubernetes API double is not installed: pip install 'kmock>=0.8'")

from tests.controller.cluster import Cluster, declare_resources


@pytest.fixture
async def cluster(kmock: Any) -> AsyncIterator[Cluster]:
    """A cluster without objects."""
    declare_resources(kmock)
    async with aiohttp.ClientSession() as session:
        yield Cluster(kopf.ConnectionInfo(server=str(kmock.url).rstrip("/")), session)
