"""Model control of a Triton server over gRPC: load, unload, and what it serves."""

from __future__ import annotations

import re
from typing import Any

import grpc
from tritonclient import grpc as triton
from tritonclient.utils import InferenceServerException

from ml.errors import InputError

LOAD_WITHIN = 300.0  # seconds; a large graph on a slow disk


class ControlClient:
    """Explicit model control with the key of the run. Use as a context manager."""

    def __init__(self, url: str, key: str | None) -> None:
        self.url = url
        self._headers = {"triton-grpc-protocol-admin-key": key} if key else None
        self._client: Any = triton.InferenceServerClient(url)

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ready(self) -> bool:
        """Whether the server answers and can take requests."""
        try:
            return self._client.is_server_ready(client_timeout=2.0)
        except InferenceServerException:
            return False

    def load(self, name: str) -> None:
        """Load or reload `name` from its repository; versions in service stay until the new ones are ready.

        Raises InputError with the server's reason; what was served before is then still served.
        """
        try:
            self._client.load_model(name, headers=self._headers, client_timeout=LOAD_WITHIN)
        except (InferenceServerException, grpc.RpcError) as error:
            raise InputError(f"the server at {self.url} cannot load {name}: {reason(error)}") from None

    def unload(self, name: str) -> None:
        """Take `name` out of service. Raises InputError with the server's reason."""
        try:
            self._client.unload_model(name, headers=self._headers, client_timeout=LOAD_WITHIN)
        except (InferenceServerException, grpc.RpcError) as error:
            raise InputError(f"the server at {self.url} cannot unload {name}: {reason(error)}") from None

    def served(self, name: str) -> tuple[int, ...]:
        """Versions of `name` that answer now, ascending; empty when it is not loaded."""
        try:
            metadata = self._client.get_model_metadata(name, client_timeout=10.0)
        except InferenceServerException:
            return ()
        return tuple(sorted(int(version) for version in metadata.versions))


def reason(error: Exception) -> str:
    """The server's own words, on one line, without gRPC's wrapping and Python's stack."""
    words = str(error.message() if isinstance(error, InferenceServerException) else error)
    words = re.sub(
        r"load failed for model '[^']*': version \d+ is at UNAVAILABLE state: (Internal: )?", "", words
    )
    return " ".join(words.split("\nAt:")[0].split())[:400].rstrip(" ;")
