from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tritonclient import grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from ml.errors import InputError, UsageError
from ml.serving.control import ControlClient
from ml.serving.environment import find_environment
from ml.serving.server import HOST, EmbeddedTriton, announced_server


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def gone(port: int, within: float = 15.0) -> bool:
    until = time.monotonic() + within
    while listening(port):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def test_the_server_ends_with_the_block_and_leaves_no_shared_memory(
    environment, repository, publish, tmp_path
):
    publish("one")
    with EmbeddedTriton(repository.folder, logs=tmp_path / "logs", environment=environment) as server:
        assert server.control.ready()
        prefix = f"scriptorium-{server.port}-"
    assert gone(server.port)
    assert not list(Path("/dev/shm").glob(f"{prefix}*"))
    assert "Started GRPCInferenceService" in server.log.read_text()


def test_the_server_ends_when_the_block_fails(environment, repository, tmp_path):
    repository.folder.mkdir()
    with (
        pytest.raises(RuntimeError),
        EmbeddedTriton(repository.folder, logs=tmp_path, environment=environment) as server,
    ):
        raise RuntimeError
    assert gone(server.port)


@pytest.mark.parametrize("killed", [signal.SIGKILL, signal.SIGTERM])
def test_the_server_does_not_outlive_a_killed_starter(environment, repository, tmp_path, killed):
    repository.folder.mkdir()
    code = (
        "import sys, time; from pathlib import Path; from ml.serving.server import EmbeddedTriton\n"
        "with EmbeddedTriton(Path(sys.argv[1]), logs=Path(sys.argv[2])) as server:\n"
        "    print(server.port, flush=True); time.sleep(60)"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", code, str(repository.folder), str(tmp_path / "logs")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert starter.stdout is not None
    port = int(starter.stdout.readline())
    assert listening(port)
    os.kill(starter.pid, killed)
    starter.wait()
    assert gone(port)


def test_a_port_in_use_is_said_in_one_sentence(repository, tmp_path):
    repository.folder.mkdir()
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(
                UsageError, match=rf"port {port} of 127.0.0.1 cannot be used .*give another --port"
            ),
            EmbeddedTriton(repository.folder, port=port, logs=tmp_path / "logs"),
        ):
            pass


def test_models_are_controlled_only_with_the_key_of_the_run(served):
    server, _ = served
    client = triton_grpc.InferenceServerClient(server.url)
    for forbidden in (
        lambda: client.load_model("trident"),
        lambda: client.unload_model("trident"),
        lambda: client.register_system_shared_memory("region", "/region", 64),
        lambda: client.update_log_settings({"log_verbose_level": 1}),
    ):
        with pytest.raises(InferenceServerException, match="restricted"):
            forbidden()
    with ControlClient(server.url, "not the key") as stranger, pytest.raises(InputError, match="restricted"):
        stranger.load("trident")
    client.close()


def test_only_grpc_is_open_and_only_on_loopback(served):
    server, _ = served
    assert listening(server.port)
    wanted = f"{server.port:04X}"
    rows = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    addresses = {row[1].rsplit(":", 1)[0] for row in rows if row[3] == "0A" and row[1].endswith(f":{wanted}")}
    # 127.0.0.1, as IPv4 and as IPv6 writes it
    assert addresses <= {"0100007F", "0000000000000000FFFF00000100007F"}


def test_word_of_a_server_is_left_for_its_user_alone_and_taken_back(environment, repository, tmp_path):
    repository.folder.mkdir()
    assert announced_server(repository.folder) is None
    with EmbeddedTriton(repository.folder, announce=True, logs=tmp_path, environment=environment) as server:
        assert announced_server(repository.folder) == (server.url, server.key)
        assert (repository.folder / ".server.json").stat().st_mode & 0o777 == 0o600
    assert announced_server(repository.folder) is None


def test_word_of_a_server_that_died_is_not_believed(repository):
    repository.folder.mkdir()
    (repository.folder / ".server.json").write_text('{"url": "127.0.0.1:1", "key": "k"}')
    assert announced_server(repository.folder) is None


def test_a_missing_environment_is_answered_with_how_to_make_it(tmp_path):
    with pytest.raises(InputError, match=r"python -m ml\.serving\.setup"):
        find_environment(tmp_path)


def test_a_server_that_cannot_start_is_reported_with_its_own_words(environment, tmp_path):
    with (
        pytest.raises(InputError, match=r"ended while starting: .*(log: .*triton-)"),
        EmbeddedTriton(tmp_path / "nowhere", logs=tmp_path / "logs", environment=environment),
    ):
        pass
