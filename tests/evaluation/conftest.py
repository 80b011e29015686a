"""Runs to evaluate."""

import pytest
from fabricated_run import fabricate


@pytest.fixture(scope="session")
def make_run(tmp_path_factory):
    """A function that fabricates a run, with truth or without, in a workspace of its own."""

    def make(**kwargs):
        return fabricate(tmp_path_factory.mktemp("workspace") / "demo", **kwargs)

    return make
