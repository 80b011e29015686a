"""Work on a file that cannot be trusted, in a process of its own: within limits, and gone when we are.

A library that crashes, hangs or eats memory over a damaged video takes that process down and nothing else.
"""

import errno
import os
import resource
import shutil
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import IO

from story_model.manifest import NO_ROOM
from storystream_builder.videos import SourceError

PACKAGE_PARENT = Path(__file__).resolve().parents[1]
_NO_ROOM = {os.strerror(number): number for number in NO_ROOM}
_LITTLE_BYTES = 1 << 20
"""On a disk with less free space a process may not even be able to say why it ends."""

_NEAR_BYTES = 64 << 20


def run_child(module: str, *arguments: str, log_dir: Path | None = None, timeout_s: float | None = None) -> None:
    """Run `python -m module arguments` to its end; what it says goes to a file in `log_dir`, or is shown.

    Raises:
        SourceError: it crashed or took too long; both are tried again by the next run.
        OSError: the disk is full, which is no fault of the file.
    """
    command = [sys.executable, "-m", module, *arguments]
    with (
        (log_dir / ".child.log").open("w+b") if log_dir else nullcontext() as errors,
        subprocess.Popen(command, cwd=PACKAGE_PARENT, stdin=subprocess.PIPE, stderr=errors) as process,
    ):
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            raise SourceError("timed out", f"over {timeout_s:g} s") from None
        except BaseException:
            process.kill()
            raise
        if code != 0:
            said = _last_line(errors)
            _refuse_full_disk(said, log_dir)
            how = f"signal {-code}" if code < 0 else f"exit {code}"
            raise SourceError("crashed", f"{module} ended with {how}: {said or 'no message'}")


def _refuse_full_disk(said: str, log_dir: Path | None) -> None:
    number = next((number for words, number in _NO_ROOM.items() if words in said), None)
    if number is None and log_dir and shutil.disk_usage(log_dir).free < _LITTLE_BYTES:
        number = errno.ENOSPC
    if number is not None:
        raise OSError(number, os.strerror(number))


def _last_line(file: IO[bytes] | None) -> str:
    if file is None:
        return "it says why above"
    file.seek(0)
    return " ".join(file.read().decode(errors="replace").strip().splitlines()[-1:])


def limit_memory(gigabytes: float) -> None:
    """Cap the address space at what the libraries take already plus an allowance; the kernel tells only on Linux."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        taken = int(statm.read_text().split()[0]) * resource.getpagesize()
        limit = taken + int(gigabytes * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def met_memory_limit() -> bool:
    """Tell whether this process came near its cap: decoders call a video damaged when they get no memory."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    status = Path("/proc/self/status")
    if limit == resource.RLIM_INFINITY or not status.exists():
        return False
    peak = next(line for line in status.read_text().splitlines() if line.startswith("VmPeak:"))
    return limit - int(peak.split()[1]) * 1024 < _NEAR_BYTES


def end_with_parent() -> None:
    """End this process when the one that started it is gone: the pipe on standard input closes then."""

    def wait() -> None:
        os.read(sys.stdin.fileno(), 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
