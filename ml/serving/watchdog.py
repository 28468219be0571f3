"""Runs a server and ends it, with all its children, when whoever started it goes away, however it goes.

`python -I -S watchdog.py SHM_PREFIX COMMAND...`: the starter keeps this process' stdin open. End of file
there kills the server's process group at once; SIGTERM here lets the server first finish what it is
answering. Should this process itself be killed, the kernel ends the server. Shared memory named SHM_PREFIX*
is removed.

A separate single-threaded process, because PR_SET_PDEATHSIG follows the *thread* that forks, and a starter
may fork from a thread that ends long before its process. Standard library only, so that it starts in 20 ms.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
GRACE = 10.0  # seconds for the server to finish what it is answering


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class _AskedError(Exception):
    """SIGTERM came: end gracefully."""


def _on_sigterm(*_: object) -> None:
    raise _AskedError


def main(shm_prefix: str, command: list[str]) -> int:
    signal.signal(signal.SIGTERM, _on_sigterm)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the starter decides
    # No other thread exists here, which is what makes preexec_fn safe.
    server = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_die_with_parent,  # noqa: PLW1509
    )
    try:
        while server.poll() is None:
            if select.select([sys.stdin], [], [], 0.2)[0] and not os.read(sys.stdin.fileno(), 1):
                return 0
    except _AskedError:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(GRACE)
        return 0
    else:
        return server.returncode
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        for left in Path("/dev/shm").glob(f"{shm_prefix}*"):  # noqa: S108  (where Triton puts them)
            left.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
