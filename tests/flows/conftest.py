"""One Prefect server for all tests of flows."""

from collections.abc import Iterator

import pytest
from prefect.settings import temporary_settings
from prefect.testing.utilities import prefect_test_harness


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with (
        temporary_settings({"home": tmp_path_factory.mktemp("prefect"), "flows.heartbeat_frequency": None}),
        prefect_test_harness(server_startup_timeout=90),
    ):
        yield
