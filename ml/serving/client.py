"""A served model as a runner, and as a reader that follows the champion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient import grpc as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from ml.errors import InputError, UsageError
from ml.models.processor import Arrays, Card
from ml.pages.result import PageResult
from ml.predictor import Predictor
from ml.serving.control import reason

ASK_WITHIN = 10.0  # seconds for a question about the model
ANSWER_WITHIN = 120.0  # seconds for a page; a paper-size model on a busy CPU takes some
MOVES = 4  # times that the champion may change while one page is read


class VersionMovedError(InputError):
    """The version that this runner was opened for is no longer the one that answers."""


class TritonRunner:
    """Runs one version of a served model over gRPC: named arrays in, named arrays out.

    version: None asks the champion, whichever it is; `card` and `version` are those of now, and an answer
    that another version gave is refused, because the card does not describe it.
    Raises UsageError when nobody answers at `url` or the model or version is not served there.
    """

    def __init__(
        self, url: str, model: str, version: int | None = None, timeout: float = ANSWER_WITHIN
    ) -> None:
        self.url, self.model, self.timeout = url, model, timeout
        self._client: Any = connect(url)  # (its annotations admit None everywhere)
        try:
            metadata = self._client.get_model_metadata(model, client_timeout=ASK_WITHIN)
            config = self._client.get_model_config(model, client_timeout=ASK_WITHIN).config
        except InferenceServerException as error:
            self._client.close()
            raise UsageError(
                f"{url} does not serve '{model}' ({reason(error)}); see `scriptorium models`"
            ) from None
        served = sorted(int(number) for number in metadata.versions)
        self.version = served[-1] if version is None else version
        self._asked = "" if version is None else str(version)
        if self.version not in served:
            self._client.close()
            raise UsageError(
                f"{url} serves {model} in version {' and '.join(map(str, served))}, not {version}"
            )
        self.card = _card_of(config.parameters, self.version, f"{url}: {model}")
        self._types = {tensor.name: tensor.datatype for tensor in metadata.inputs}

    def __call__(self, inputs: Arrays) -> Arrays:
        """Raises VersionMovedError when the champion is another now, InputError for any other failure."""
        given = []
        for name, type_ in self._types.items():
            array = np.ascontiguousarray(inputs[name])
            if np_to_triton_dtype(array.dtype) != type_:
                raise InputError(f"{self.model} takes '{name}' as {type_}, not {array.dtype}")
            tensor = triton.InferInput(name, array.shape, type_)
            tensor.set_data_from_numpy(array)
            given.append(tensor)
        try:
            answer = self._client.infer(
                self.model, given, model_version=self._asked, client_timeout=self.timeout
            )
        except InferenceServerException as error:
            where = f"{self.url}: {self.model} version {self.version}"
            raise InputError(f"{where} gave no answer: {reason(error)}") from None
        response = answer.get_response()
        if response.model_version != str(self.version):
            moved = f"version {response.model_version} has taken over from {self.version}"
            raise VersionMovedError(f"{self.url}: {self.model} {moved}")
        return {output.name: answer.as_numpy(output.name) for output in response.outputs}

    def close(self) -> None:
        self._client.close()


class ServedPredictor:
    """Reads pages with the champion of a model; when another takes over, it goes on with that one."""

    def __init__(self, url: str, model: str) -> None:
        self._url, self._model = url, model
        self._open()

    def _open(self) -> None:
        self._runner = TritonRunner(self._url, self._model)
        self.card: Card = self._runner.card
        self.version = self._runner.version
        self._predictor = Predictor(self.card, self._runner)

    def read(self, pixels: np.ndarray, boxes: np.ndarray | None = None) -> PageResult:
        """See `Predictor.read`."""
        for _ in range(MOVES):
            try:
                return self._predictor.read(pixels, boxes)
            except VersionMovedError:
                self.close()
                self._open()
        return self._predictor.read(pixels, boxes)

    def close(self) -> None:
        self._runner.close()


def connect(url: str) -> triton.InferenceServerClient:
    """A client of a server that answers. Raises UsageError when none does."""
    if Path(url).name != url or ":" not in url:
        raise UsageError(f"--url {url}: give HOST:PORT of the server's gRPC port, such as 127.0.0.1:8001")
    client = triton.InferenceServerClient(url)
    try:
        client.is_server_live(client_timeout=ASK_WITHIN)
    except InferenceServerException as error:
        client.close()
        raise UsageError(
            f"no Triton server answers at {url} ({reason(error)}); start one with `scriptorium serve`"
        ) from None
    return client


def _card_of(parameters, version: int, where: str) -> Card:
    parameter = f"card.{version}" if f"card.{version}" in parameters else "card"
    if parameter not in parameters:
        raise InputError(
            f"{where} carries no model card (parameter 'card'); publish it with `scriptorium publish`"
        )
    return json.loads(parameters[parameter].string_value)
