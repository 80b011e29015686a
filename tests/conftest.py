"""What tests of several packages share: one MLflow database, since making one takes seconds, and a stand-in for S3."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from story_model.store import Store


@pytest.fixture(scope="session")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def own_places(tmp_path: Path, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have Settings name a workspace of the test's own (handed out) and the tests' MLflow database."""
    monkeypatch.setenv("STORY_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("STORY_TRACKING_URI", mlflow_uri)
    return tmp_path / "workspace"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    moto = pytest.importorskip("moto.server", reason="moto, a stand-in for S3, is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket of the test's own, reached as a user's would be: by the environment."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    bucket = f"stories-{uuid.uuid4().hex}"
    fsspec.filesystem("s3").mkdir(bucket)
    return f"s3://{bucket}/our/store"


@pytest.fixture(params=["s3", "file", "memory"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return request.getfixturevalue("s3")
    return f"file://{tmp_path / 'mounted'}" if request.param == "file" else f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def here(store_url: str, tmp_path: Path) -> Store:
    return Store(store_url, tmp_path / "here")


@pytest.fixture
def there(store_url: str, tmp_path: Path) -> Store:
    """The same store as another machine sees it, whose workspace is empty."""
    return Store(store_url, tmp_path / "there")
