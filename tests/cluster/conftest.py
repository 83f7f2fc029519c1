"""One cluster for the tests of a file: they lose servers, and bring them back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.cluster.cluster import Cluster


@pytest.fixture(scope="module")
def servers() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(servers: Cluster) -> Cluster:
    """The cluster with all its servers, and a database of the test's own."""
    servers.mend()
    return servers
