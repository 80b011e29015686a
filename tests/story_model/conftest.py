"""A store as two machines see it, on each kind of filesystem."""

import uuid
from pathlib import Path

import pytest

from story_model.store import Store


@pytest.fixture(params=["s3", "file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return request.getfixturevalue("s3")
    return f"file://{tmp_path / 'mounted'}" if request.param == "file" else f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def here(url: str, tmp_path: Path) -> Store:
    return Store(url, tmp_path / "here")


@pytest.fixture
def there(url: str, tmp_path: Path) -> Store:
    """The same store as another machine sees it, whose workspace is empty."""
    return Store(url, tmp_path / "there")
