"""A real Triton server for as long as a `with` block lasts: loopback, gRPC only, explicit model control."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from ml.errors import InputError, UsageError
from ml.serving.control import ControlClient
from ml.serving.environment import ROOT, ServerEnvironment, find_environment
from ml.serving.watchdog import GRACE

HOST = "127.0.0.1"
#: gRPC protocols that only the holder of the run's key may use: they load code, map memory or write files.
RESTRICTED = "model-repository,shared-memory,trace,logging"
READY_WITHIN = 60.0  # seconds; two are usual
LOGS_KEPT = 20
ANNOUNCEMENT = ".server.json"


def default_logs() -> Path:
    return ROOT / ".cache" / "serving" / "logs"


class EmbeddedTriton:
    """`tritonserver` on a model repository. Loads nothing by itself: see `control`.

    port: gRPC port, None for a free one. metrics_port: Prometheus metrics on loopback, None for none.
    logs: folder in which the server's log is kept. announce: while it runs, `.server.json` in the repository
    tells other commands of the same user how to reach it.
    Raises UsageError when the port is taken, InputError when the server is not installed or does not come up.
    """

    def __init__(
        self,
        repository: Path,
        *,
        port: int | None = None,
        metrics_port: int | None = None,
        announce: bool = False,
        logs: Path | None = None,
        environment: ServerEnvironment | None = None,
        ready_within: float = READY_WITHIN,
    ) -> None:
        self.repository = repository.resolve()
        self.key = secrets.token_hex(16)
        self._given_port, self._metrics_port = port, metrics_port
        self._environment, self._ready_within, self._announce = environment, ready_within, announce
        self._logs = default_logs() if logs is None else logs
        self._ends = contextlib.ExitStack()

    def __enter__(self) -> Self:
        environment = self._environment or find_environment()
        with contextlib.ExitStack() as ends:
            scratch = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="scriptorium-triton-")))
            backends = environment.assemble_backends(scratch / "backends")
            self.port = free_port() if self._given_port is None else _require_free(self._given_port, "--port")
            if self._metrics_port is not None:
                _require_free(self._metrics_port, "--metrics-port")
            self.url = f"{HOST}:{self.port}"
            self.log = self._log_file()
            self._start(environment, backends, scratch, ends)
            self.control = ends.enter_context(ControlClient(self.url, self.key))
            self._wait_ready()
            if self._announce:
                ends.enter_context(_announced(self.repository, self.url, self.key))
            self._ends = ends.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    @property
    def running(self) -> bool:
        return self._watchdog.poll() is None

    @property
    def pid(self) -> int:
        """The process above the server and all that it starts."""
        return self._watchdog.pid

    def wait(self) -> int:
        """Block until the server ends by itself. Returns its exit code."""
        return self._watchdog.wait()

    def finish(self) -> None:
        """End the server after it has answered what it was asked (leaving the block ends it at once)."""
        self._watchdog.terminate()
        self._watchdog.wait(2 * GRACE)

    @property
    def _shm_prefix(self) -> str:
        return f"scriptorium-{self.port}-"

    def _command(self, environment: ServerEnvironment, backends: Path) -> list[str]:
        prefix = self._shm_prefix
        metrics = ["--allow-metrics=false"]
        if self._metrics_port is not None:
            metrics = [
                f"--metrics-port={self._metrics_port}",
                f"--metrics-address={HOST}",
                "--allow-gpu-metrics=false",
            ]
        return [
            str(environment.triton / "bin" / "tritonserver"),
            f"--model-repository={self.repository}",
            f"--backend-directory={backends}",
            "--model-control-mode=explicit",
            "--disable-auto-complete-config",
            "--strict-readiness=false",
            "--exit-timeout-secs=10",
            "--allow-http=false",
            *metrics,
            f"--grpc-address={HOST}",
            f"--grpc-port={self.port}",
            f"--grpc-restricted-protocol={RESTRICTED}:admin-key={self.key}",
            f"--backend-config=python,shm-region-prefix-name={prefix}",
            f"--backend-config=onnxruntime,shm-region-prefix-name={prefix}",
        ]

    def _start(
        self, environment: ServerEnvironment, backends: Path, scratch: Path, ends: contextlib.ExitStack
    ) -> None:
        watchdog = [
            sys.executable,
            "-I",
            "-S",
            str(Path(__file__).with_name("watchdog.py")),
            self._shm_prefix,
        ]
        with self.log.open("wb") as log:
            self._watchdog = subprocess.Popen(
                [*watchdog, *self._command(environment, backends)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment.variables() | {"TMPDIR": str(scratch)},
                cwd=scratch,
            )
        ends.callback(self._stop)

    def _stop(self) -> None:
        if self._watchdog.stdin:
            self._watchdog.stdin.close()  # the watchdog kills the server's process group at once
        try:
            self._watchdog.wait(2 * GRACE)
        except subprocess.TimeoutExpired:
            self._watchdog.kill()
            self._watchdog.wait()

    def _wait_ready(self) -> None:
        until = time.monotonic() + self._ready_within
        while not self.control.ready():
            if not self.running:
                raise InputError(
                    f"the Triton server ended while starting: {self._last_error()} (log: {self.log})"
                )
            if time.monotonic() > until:
                raise InputError(
                    f"the Triton server was not ready after {self._ready_within:.0f} s (log: {self.log})"
                )
            time.sleep(0.05)

    def _last_error(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        errors = [line for line in lines if line.startswith("E") or "error" in line.lower()]
        return (errors or lines or ["it wrote nothing"])[-1].strip()

    def _log_file(self) -> Path:
        self._logs.mkdir(parents=True, exist_ok=True)
        old = sorted(self._logs.glob("triton-*.log"), key=lambda file: file.stat().st_mtime)
        for file in old[: max(0, len(old) - LOGS_KEPT + 1)]:
            file.unlink(missing_ok=True)
        return self._logs / f"triton-{time.strftime('%Y%m%d-%H%M%S')}-{self.port}.log"


def free_port() -> int:
    """A TCP port of the loopback interface on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def _require_free(port: int, option: str) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            what = f"port {port} of {HOST} cannot be used ({error.strerror})"
            raise UsageError(f"{what}; stop what listens there or give another {option}") from None
        except OverflowError:
            raise UsageError(f"{option} {port}: a port is between 1 and 65535") from None
    return port


@contextlib.contextmanager
def _announced(repository: Path, url: str, key: str) -> Iterator[None]:
    """Leave word of the running server in its repository, readable only by this user."""
    path = repository / ANNOUNCEMENT
    path.unlink(missing_ok=True)
    word = json.dumps({"url": url, "key": key})
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(word)
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            if path.read_text() == word:  # not a later server's
                path.unlink()


def announced_server(repository: Path) -> tuple[str, str] | None:
    """(url, key) of the server that `scriptorium serve` runs on `repository` now, or None."""
    try:
        word = json.loads((repository / ANNOUNCEMENT).read_text())
    except (OSError, ValueError):
        return None
    with ControlClient(word["url"], word["key"]) as control:
        return (word["url"], word["key"]) if control.ready() else None
