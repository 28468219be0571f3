"""Runs a server and ends it, with all its children, when whoever started it goes away, however it goes.

`python -I -S watchdog.py COMMAND...`: the starter keeps this process' stdin open. End of file there, or SIGTERM
here, ends the server's whole process group; should this process itself be killed, the kernel ends the server.
A separate single-threaded process, because PR_SET_PDEATHSIG follows the *thread* that forks, and a starter may
fork from a thread that ends long before its process. Standard library only, so that it starts in 20 ms.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
GRACE = 10.0  # seconds for the server to finish what it is answering


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _end(server: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the server, and SIGKILL to what is left of its group."""
    if server.poll() is None:
        server.terminate()
        try:
            server.wait(GRACE)
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(server.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    server.wait()


def _stop(*_: object) -> None:
    raise SystemExit(0)


def main(command: list[str]) -> int:
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the starter decides
    # No other thread exists here, which is what makes preexec_fn safe.
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_die_with_parent)  # noqa: PLW1509
    try:
        while server.poll() is None:
            readable, _, _ = select.select([sys.stdin], [], [], 0.2)
            if readable and not os.read(sys.stdin.fileno(), 1):
                break
            if readable:
                time.sleep(0.2)
        return server.returncode if server.returncode is not None else 0
    finally:
        _end(server)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
