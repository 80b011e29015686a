"""A Prefect API for a run started by hand: the one that `make up` keeps, or one of our own that ends with the run."""

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import prefect
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import get_current_settings, temporary_settings

from story_model.config import PROJECT_DIR
from tasks.process import end_group, start

log = logging.getLogger(__name__)

_START_TIMEOUT_S = 180.0
_POLL_S = 0.1
_QUIET = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_LOGGING_LEVEL": "WARNING"}


class OwnServer:
    """A Prefect server on a free loopback port, in its own process group."""

    def __init__(self, home: Path) -> None:
        """Name the folder that holds its database and log."""
        self.home = home
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        self._log_path = home / "server.log"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start the server, hand over at once (see `wait`), and end it."""
        self.home.mkdir(parents=True, exist_ok=True)
        command = ["-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port), "--no-ui"]
        with self._log_path.open("wb") as output:
            env = _QUIET | {"PREFECT_HOME": str(self.home)}
            self._process = start(command, cwd=PROJECT_DIR, env=env, stdout=output)
        try:
            yield
        finally:
            end_group(self._process, grace_s=5)

    def wait(self) -> None:
        """Wait until the server answers.

        Raises:
            RuntimeError: it ended, or does not answer in time.
        """
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not answers(self.url):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Prefect's server did not start; see {self._log_path}")
            time.sleep(_POLL_S)


@contextmanager
def prefect_api(home: Path) -> Iterator[OwnServer | None]:
    """Have flows inside talk to the local server that runs already, else to one of our own (handed out, starting)."""
    current = get_current_settings()
    kept = current.api.url
    if kept and urlsplit(kept).hostname in {"127.0.0.1", "localhost"} and answers(kept):
        log.info("using the Prefect server at %s", kept)
        yield None
        return
    server = OwnServer(home)
    # Pages are those of the kept server, which reads the same database; one that ends with us needs no heartbeats.
    settings = {"api.url": server.url, "ui_url": current.ui_url, "home": home, "flows.heartbeat_frequency": None}
    with server.running(), temporary_settings(settings):
        try:
            yield server
        finally:
            _send_what_is_left()


def answers(url: str) -> bool:
    """Tell whether a Prefect API of our version answers at `url`."""
    try:
        with urlopen(f"{url}/admin/version", timeout=2) as reply:
            return bool(reply.read().decode().strip('"') == prefect.__version__)
    except (URLError, OSError):
        return False


def _send_what_is_left() -> None:
    """Empty the queues of log lines and events, whose threads would wait a minute for a server that is gone."""
    APILogWorker.drain_all()
    EventsWorker.drain_all()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
