"""Start a step in a process of its own: stream its log, end it with us, raise with its last lines when it fails.

Training, telling and judging need gigabytes and may be killed for them; the orchestrator survives that, never imports
torch, and the command in the log can be typed by hand.
"""

import codecs
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TextIO

from story_model.config import PROJECT_DIR
from story_model.train_config import LaunchConfig

log = logging.getLogger(__name__)

_LAST_LINES = 15
_BLOCK = 1 << 16
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class ProcessFailed(RuntimeError):  # noqa: N818 - says what happened, as subprocess.TimeoutExpired does
    """A step's process ended with an error; the message holds its last lines."""


class Echo:
    """Sorts a process's output: whole lines go to the log, a progress bar's states to the terminal.

    Without a terminal a bar is logged at most every `every_s` seconds, and its last state once.
    """

    def __init__(
        self, terminal: TextIO | None, *, every_s: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the terminal to draw bars on; none where there is none."""
        self.last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._terminal = terminal
        self._every_s = every_s
        self._clock = clock
        self._logged_at = clock()
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._rest = ""
        self._in_bar = False

    def feed(self, data: bytes, *, final: bool = False) -> None:
        """Take the next bytes, cut anywhere; `final` closes a line that was left open."""
        text = self._rest + self._decoder.decode(data, final) + ("\n" if final else "")
        *pieces, self._rest = re.split(r"(\r\n|\r|\n)", text)
        for piece, end in zip(pieces[::2], pieces[1::2], strict=True):
            self._in_bar = self._in_bar or end == "\r"
            if piece.strip():
                self._show(piece.strip(), ended=end != "\r")
            if end != "\r":
                self._in_bar = False

    def _show(self, text: str, *, ended: bool) -> None:
        if self._terminal is None:
            due = self._clock() - self._logged_at >= self._every_s
            if ended or due:
                self._log(text)
        elif self._in_bar:
            width = shutil.get_terminal_size().columns - 1
            self._terminal.write(f"\r\x1b[K{text[:width]}" + ("\n" if ended else ""))
            self._terminal.flush()
            if ended:
                self.last_lines.append(text)
        else:
            self._log(text)

    def _log(self, text: str) -> None:
        self._logged_at = self._clock()
        self.last_lines.append(text)
        log.info("%s", text)


def run_module(
    module: str,
    *args: str,
    threads: int = 1,
    cwd: Path = PROJECT_DIR,
    grace_s: float = 10.0,
    spread: LaunchConfig | None = None,
    launcher: str = "",
    accept: Collection[int] = (),
) -> int:
    """Run `python -m module args` to its end with `threads` threads for its arithmetic, and hand out its exit code.

    `accept`: exit codes besides 0 with which the process says something, and did not fail.

    `spread` says over how many processes and nodes; the nodes are reached by the command `launcher` (see `Settings`).
    Whatever ends this call early (cancellation, SIGTERM, Ctrl-C) ends the process and its children too: SIGTERM, then
    SIGKILL after `grace_s` seconds.

    Raises:
        ProcessFailed: it was killed, or exited with a code that is neither 0 nor accepted.
    """
    arguments = [*_torchrun(spread or LaunchConfig()), "-m", module, *args]
    before = _reaching(spread or LaunchConfig(), launcher)
    log.info("$ %s", shlex.join([*before, "python", *arguments]))
    echo = Echo(sys.stderr if sys.stderr.isatty() else None)
    threads_env = dict.fromkeys(_THREAD_VARIABLES, str(threads))
    process = start(arguments, cwd=cwd, env=threads_env, stdout=subprocess.PIPE, launcher=before)
    assert process.stdout is not None
    try:
        while data := os.read(process.stdout.fileno(), _BLOCK):
            echo.feed(data)
        echo.feed(b"", final=True)
        code = process.wait()
    finally:
        end_group(process, grace_s)
        process.stdout.close()
    if code != 0 and code not in accept:
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"failed with exit code {code}"
        raise ProcessFailed("\n  ".join([f"python -m {module} {how}; its last lines:", *echo.last_lines]))
    return code


def _torchrun(spread: LaunchConfig) -> list[str]:
    """Give the arguments that have torchrun start a module, where it takes more than one process or DeepSpeed."""
    if spread.processes == spread.nodes == 1 and spread.engine == "torch":
        return []
    # Over several nodes, PET_RDZV_ENDPOINT in the environment of each says where they meet.
    meeting = ["--standalone"] if spread.nodes == 1 else ["--nnodes", str(spread.nodes), "--rdzv-backend", "c10d"]
    return ["-m", "torch.distributed.run", *meeting, "--nproc-per-node", str(spread.processes)]


def _reaching(spread: LaunchConfig, launcher: str) -> list[str]:
    """Give the command that runs what follows on every node.

    Raises:
        ValueError: there are several nodes and nothing says how to reach them.
    """
    if spread.nodes == 1:
        return []
    if not launcher:
        raise ValueError(
            f"train.launch asks for {spread.nodes} nodes; set STORY_LAUNCHER to the command that runs another on each "
            "of them (infra/slurm, infra/kubernetes)"
        )
    return shlex.split(launcher.format(nodes=spread.nodes, processes=spread.processes))


def start(
    arguments: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdout: int | IO[bytes],
    launcher: Sequence[str] = (),
) -> subprocess.Popen[bytes]:
    """Start Python with these arguments at the head of a process group; `env` is added to our own environment.

    Both output streams go to `stdout`. Where `setpriv` exists (Linux) the process ends when this one is killed.
    """
    setpriv = shutil.which("setpriv")
    return subprocess.Popen(
        [*([setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []), *launcher, sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def end_group(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """End a process that leads its own group, and all of that group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(grace_s)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
