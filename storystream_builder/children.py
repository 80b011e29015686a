"""Work on a file that cannot be trusted, in a process of its own: within limits, and gone when we are.

A library that crashes, hangs or eats memory over a damaged video takes that process down and nothing else.
"""

import os
import resource
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import IO

from storystream_builder.videos import SourceError

_PACKAGE_PARENT = Path(__file__).resolve().parents[1]


def run_child(module: str, *arguments: str, log_dir: Path | None = None, timeout_s: float | None = None) -> None:
    """Run `python -m module arguments` to its end; what it says goes to a file in `log_dir`, or is shown.

    Raises:
        SourceError: it crashed or took too long; both are tried again by the next run.
    """
    command = [sys.executable, "-m", module, *arguments]
    with (
        (log_dir / ".child.log").open("w+b") if log_dir else nullcontext() as errors,
        subprocess.Popen(command, cwd=_PACKAGE_PARENT, stdin=subprocess.PIPE, stderr=errors) as process,
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
            how = f"signal {-code}" if code < 0 else f"exit {code}"
            raise SourceError("crashed", f"{module} ended with {how}: {_last_line(errors) or 'no message'}")


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


def end_with_parent() -> None:
    """End this process when the one that started it is gone: the pipe on standard input closes then."""

    def wait() -> None:
        os.read(sys.stdin.fileno(), 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
