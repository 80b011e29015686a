"""A step's process: its log arrives, its failure speaks, and nothing of it is left behind."""

import io
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from story_model.train_config import LaunchConfig
from tasks.process import Echo, ProcessFailed, run_module

SLEEPER = """
import subprocess, sys, pathlib, os
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path("pids").write_text(f"{os.getpid()} {child.pid}")
child.wait()
"""

SAYS_ITS_RANK = """
import os, sys
# In one write: the ranks share a pipe, and pieces of a line would mix.
sys.stdout.write(f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']}\\n")
"""


def write_module(folder: Path, source: str) -> Path:
    (folder / "step.py").write_text(source)
    return folder


def wait_for(path: Path) -> list[int]:
    """Wait until a started process has written its process ids (no longer than it takes to start one)."""
    deadline = time.monotonic() + 30
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline, f"{path} did not appear"
        os.sched_yield()
    return [int(word) for word in path.read_text().split()]


def start_caller(folder: Path) -> subprocess.Popen[bytes]:
    """Start a process that runs `step` as a task would, and hears SIGINT where tests run in the background too."""
    hears = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    runs = f"import pathlib, tasks.process; tasks.process.run_module('step', cwd=pathlib.Path({str(folder)!r}))"
    return subprocess.Popen([sys.executable, "-c", f"{hears}; {runs}"], stderr=subprocess.DEVNULL)


def gone(pid: int) -> bool:
    try:
        psutil.Process(pid).wait(timeout=15)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True


def test_lines_of_both_streams_reach_the_log_in_order(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = "import sys\nprint('one')\nprint('two', file=sys.stderr)\nprint('three')"
    with caplog.at_level(logging.INFO):
        run_module("step", cwd=write_module(tmp_path, source))
    assert [record.message for record in caplog.records] == ["$ python -m step", "one", "two", "three"]


def test_arguments_and_threads_reach_the_process(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = "import os, sys\nprint(sys.argv[1:], os.environ['OMP_NUM_THREADS'])"
    with caplog.at_level(logging.INFO):
        run_module("step", "a folder", threads=3, cwd=write_module(tmp_path, source))
    assert caplog.records[-1].message == "['a folder'] 3"


def test_a_failure_is_raised_with_the_last_lines(tmp_path: Path) -> None:
    source = "print('loading')\nraise SystemExit('no tokenizer in runs/a; run the tokenizer first')"
    with pytest.raises(ProcessFailed, match=r"(?s)exit code 1.*loading.*no tokenizer in runs/a"):
        run_module("step", cwd=write_module(tmp_path, source))


def test_a_killed_process_is_named_as_killed(tmp_path: Path) -> None:
    with pytest.raises(ProcessFailed, match="killed by SIGKILL"):
        run_module("step", cwd=write_module(tmp_path, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"))


def test_an_interrupted_call_ends_the_process_and_its_children(tmp_path: Path) -> None:
    write_module(tmp_path, SLEEPER)
    caller = start_caller(tmp_path)
    pids = wait_for(tmp_path / "pids")
    caller.send_signal(signal.SIGINT)
    caller.wait(30)
    assert all(gone(pid) for pid in pids)


@pytest.mark.skipif(not Path("/usr/bin/setpriv").exists(), reason="ending with a killed parent needs Linux's setpriv")
def test_a_killed_caller_takes_the_process_with_it(tmp_path: Path) -> None:
    write_module(tmp_path, SLEEPER.replace("child.wait()", "import time; time.sleep(600)"))
    caller = start_caller(tmp_path)
    step, child = wait_for(tmp_path / "pids")
    caller.kill()
    caller.wait(30)
    was_gone = gone(step)
    psutil.Process(child).kill()
    assert was_gone


def test_without_a_terminal_a_bar_is_logged_rarely_and_once_at_its_end(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    echo = Echo(None, every_s=10, clock=lambda: now[0])
    with caplog.at_level(logging.INFO):
        for percent in range(0, 100, 5):
            echo.feed(f"\r{percent}%|##|".encode())
            now[0] += 1
        echo.feed(b"\r100%|##|\nafterwards\n")
    assert [record.message for record in caplog.records] == ["45%|##|", "95%|##|", "100%|##|", "afterwards"]


def test_on_a_terminal_a_bar_is_redrawn_in_place_and_lines_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    screen = io.StringIO()
    echo = Echo(screen)
    with caplog.at_level(logging.INFO):
        echo.feed(b"before\n\r 1/2\r 2/2\n after\n")
    assert screen.getvalue() == "\r\x1b[K1/2\r\x1b[K2/2\n"
    assert [record.message for record in caplog.records] == ["before", "after"]


def test_characters_cut_between_two_reads_stay_whole(caplog: pytest.LogCaptureFixture) -> None:
    line = "Żółw → 日\n".encode()
    echo = Echo(None)
    with caplog.at_level(logging.INFO):
        for byte in line:
            echo.feed(bytes([byte]))
    assert caplog.records[-1].message == "Żółw → 日"


def test_several_processes_are_started_by_torchrun(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        run_module("step", cwd=write_module(tmp_path, SAYS_ITS_RANK), spread=LaunchConfig(processes=2))
    assert {"rank 0 of 2", "rank 1 of 2"} <= {record.message for record in caplog.records}


def test_several_nodes_are_reached_by_the_launcher_and_meet(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PET_RDZV_ENDPOINT", f"127.0.0.1:{free.getsockname()[1]}")
    launcher = tmp_path / "everywhere"
    launcher.write_text('#!/bin/sh\nnodes=$1; shift\nfor _ in $(seq "$nodes"); do "$@" & done; wait\n')
    launcher.chmod(0o755)
    spread = LaunchConfig(nodes=2, processes=1)
    with caplog.at_level(logging.INFO):
        run_module("step", cwd=write_module(tmp_path, SAYS_ITS_RANK), spread=spread, launcher=f"{launcher} {{nodes}}")
    assert {"rank 0 of 2", "rank 1 of 2"} <= {record.message for record in caplog.records}


def test_several_nodes_without_a_launcher_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="asks for 2 nodes; set STORY_LAUNCHER"):
        run_module("step", cwd=tmp_path, spread=LaunchConfig(nodes=2))


def test_an_exit_code_that_says_something_is_handed_out(tmp_path: Path) -> None:
    assert run_module("step", cwd=write_module(tmp_path, "raise SystemExit(3)"), accept=(3,)) == 3


def test_an_exit_code_that_was_not_asked_for_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(ProcessFailed, match="exit code 4"):
        run_module("step", cwd=write_module(tmp_path, "raise SystemExit(4)"), accept=(3,))
