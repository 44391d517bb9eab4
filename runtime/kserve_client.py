"""Reading images with an engine that runs elsewhere: Triton, OpenVINO Model Server, any KServe v2.

::

    with connect("http://gpu-host:8000", "artifacts/plates", model="plates") as reader:
        result = reader.read(image)  # as with Reader.open

The server returns logits; preprocessing and decoding stay here, as the artifact says. Tensors
travel as bytes (KServe v2 inference protocol, binary tensor data extension) over HTTP/1.1 from the
standard library. The folder needs ``artifact.json`` and ``golden.npz`` of the artifact that is
served, not its engine; the golden vectors show that the server computes what was exported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from .arrays import Images, Logits
from .errors import ConfigError, EngineError, IntegrityError
from .file_records import check_record
from .golden import check_golden as check_golden_vectors
from .graph_contract import Port, Scores, check_graph, check_images, run_fixed
from .http_client import Answer, HttpClient
from .kserve import BINARY_SIZE, DATATYPES, HEADER_LENGTH, LARGEST_JSON_BYTES
from .manifest import GOLDEN_FILE, Manifest
from .reader import Reader
from .schema import INPUT_NAME
from .strict import StrictObject, parse_json
from .trust import load_manifest

__all__ = ["KServeSession", "connect"]

_BYTES_A_NUMBER: Final = 32
"""More than a float32 takes in JSON."""


def connect(
    url: str,
    artifact: Path | str,
    *,
    model: str,
    version: int | None = None,
    timeout_s: float = 5.0,
    headers: Mapping[str, str] | None = None,
    check_golden: bool = True,
    max_batch: int = 16,
    verify: Path | str | None = None,
) -> Reader:
    """Return a reader whose engine is a model server.

    Args:
        url: The server, such as ``http://host:8000``; a path before ``/v2`` is kept.
        artifact: Folder with the manifest and golden vectors of what is served.
        model: Its name on the server.
        version: Its version there; the server's choice where None.
        timeout_s: For each step of a request (``HttpClient``); then its images are errors.
        headers: Sent with every request, such as an authorisation.
        check_golden: Score the golden vectors first.
        max_batch: Images per request in ``read_many``, at most what the server takes.
        verify: Public key (PEM file) whose owner must have signed the artifact.

    Raises:
        ConfigError: a URL, timeout or batch that cannot work.
        ArtifactError: no such manifest, or golden vectors that are not its own.
        EngineError: the server does not answer, serves another model or computes something else.
    """
    if max_batch < 1:
        raise ConfigError(f"max_batch must be >= 1, got {max_batch}")
    folder = Path(artifact)
    manifest = load_manifest(folder, key=None if verify is None else Path(verify))
    if check_golden:
        _check_golden_file(folder, manifest)
    session = KServeSession(
        url, manifest, model=model, version=version, timeout_s=timeout_s, headers=headers
    )
    try:
        if check_golden:
            check_golden_vectors(session, manifest, folder)
        return Reader(manifest, session, max_batch=max_batch)
    except BaseException:
        session.close()
        raise


def _check_golden_file(folder: Path, manifest: Manifest) -> None:
    path = folder / GOLDEN_FILE
    try:
        check_record(path, manifest.files[GOLDEN_FILE])
    except OSError as error:
        raise IntegrityError(f"{path} cannot be read: {error}") from error


class KServeSession:
    """A model of a KServe v2 server, as an engine; see ``runtime.session.Session``.

    Args:
        url: As for ``connect``, as are the other arguments.
        manifest: What the model must be.

    Raises:
        ConfigError: a URL or timeout that cannot work.
        EngineError: the server does not answer, or the model is another.
    """

    def __init__(
        self,
        url: str,
        manifest: Manifest,
        *,
        model: str,
        version: int | None = None,
        timeout_s: float = 5.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._client = HttpClient(url, timeout_s, headers or {})
        self._model = f"/v2/models/{quote(model, safe='')}"
        if version is not None:
            self._model += f"/versions/{version}"
        self._spec = manifest.input
        self._sizes = {head.name: head.size for head in manifest.schema.heads}
        self._name = url.rstrip("/") + self._model
        try:
            self._batch = self._check_model(manifest)
            self._description = self._describe()
        except BaseException:
            self._client.close()
            raise

    def _check_model(self, manifest: Manifest) -> int | None:
        """Return the model's fixed batch size, or None if it takes any."""
        metadata = self._json(self._model)
        inputs = _ports(metadata, "inputs", self._name)
        outputs = {port.name: port for port in _ports(metadata, "outputs", self._name)}
        # Outputs are asked for by name, and servers list them in orders of their own.
        ordered = [outputs.pop(head) for head in self._sizes if head in outputs]
        ordered += outputs.values()
        path = Path(self._name.partition("://")[2])
        return check_graph(path, inputs, ordered, manifest.schema, manifest.input)

    def _describe(self) -> Mapping[str, str]:
        server = StrictObject(self._json("/v2"), self._name, EngineError)
        return {
            "engine": f"kserve: {server.text('name', '')}",
            "version": server.text("version", ""),
            "device": self._name,
            "precision": "as served",
            "threads": "as served",
        }

    def _json(self, path: str) -> object:
        answer = self._client.request("GET", path, limit=LARGEST_JSON_BYTES)
        return _parse(answer.content, path)

    def run(self, images: Images) -> Logits:
        """Score (N, height, width, 3) uint8 images; see ``Session.run``."""
        check_images(images, self._spec)
        scores = run_fixed(self._run, images, self._batch)
        return dict(zip(self._sizes, scores, strict=True))

    def _run(self, images: Images) -> Scores:
        pixels = np.ascontiguousarray(images).tobytes()
        question = {
            "inputs": [
                {
                    "name": INPUT_NAME,
                    "shape": images.shape,
                    "datatype": "UINT8",
                    "parameters": {BINARY_SIZE: len(pixels)},
                }
            ],
            "outputs": [
                {"name": head, "parameters": {"binary_data": True}} for head in self._sizes
            ],
        }
        header = json.dumps(question).encode()
        limit = LARGEST_JSON_BYTES + len(images) * sum(self._sizes.values()) * _BYTES_A_NUMBER
        path = f"{self._model}/infer"
        sent = {HEADER_LENGTH: str(len(header)), "Content-Type": "application/octet-stream"}
        answer = self._client.request("POST", path, header + pixels, sent, limit=limit)
        expected = {head: (len(images), size) for head, size in self._sizes.items()}
        return _read_scores(answer.content, _length(answer, path), expected, path)

    def close(self) -> None:
        """Close idle connections; calls that are running end as usual."""
        self._client.close()

    @property
    def description(self) -> Mapping[str, str]:
        """The server's name and version, and the model's address as the device."""
        return self._description


def _length(answer: Answer, path: str) -> int | None:
    text = answer.headers.get(HEADER_LENGTH.lower())
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise EngineError(f"{path}: header {HEADER_LENGTH} is {text!r:.40}, expected a number")
    return int(text)


def _parse(content: bytes, what: str) -> object:
    try:
        return parse_json(content.decode(), what, EngineError)
    except UnicodeDecodeError as error:
        raise EngineError(f"{what}: the answer is not UTF-8: {error}") from error


def _ports(metadata: object, key: str, what: str) -> list[Port]:
    ports = []
    for value in StrictObject(metadata, what, EngineError).items(key):
        item = StrictObject(value, f"{what}: {key}", EngineError)
        kind = item.text("datatype")
        shape = tuple(None if size < 0 else size for size in item.integers("shape"))
        ports.append(Port(item.text("name"), DATATYPES.get(kind, kind), shape))
    return ports


def _read_scores(
    body: bytes, length: int | None, expected: Mapping[str, tuple[int, int]], what: str
) -> Scores:
    """Return one array per head, in the order of ``expected``.

    Args:
        body: The answer: JSON, and behind it the outputs that it says are binary.
        length: Bytes of JSON; all of them where None.
        expected: Head to its shape.
        what: Name of the answer in messages.

    Raises:
        EngineError: anything but these heads in these shapes as FP32.
    """
    header = body if length is None else body[:length]
    rest = memoryview(body)[len(header) :]
    found: dict[str, npt.NDArray[np.float32]] = {}
    for value in StrictObject(_parse(header, what), what, EngineError).items("outputs"):
        output = StrictObject(value, what, EngineError)
        name, shape = output.text("name"), output.integers("shape")
        if name not in expected or name in found:
            raise EngineError(f"{what}: output {name!r} was not asked for, or comes twice")
        if shape != expected[name] or output.text("datatype") != "FP32":
            raise EngineError(
                f"{what}: output {name!r} must be FP32 {expected[name]}, got "
                f"{output.text('datatype')} {shape}"
            )
        found[name], used = _scores(output, shape, rest, what)
        rest = rest[used:]
    if missing := sorted(set(expected) - set(found)):
        raise EngineError(f"{what}: outputs {missing} are missing")
    if len(rest):
        raise EngineError(f"{what}: {len(rest)} bytes behind the last output")
    return [found[name] for name in expected]


def _scores(
    output: StrictObject, shape: Sequence[int], rest: memoryview, what: str
) -> tuple[npt.NDArray[np.float32], int]:
    """Return an output's values and how many bytes of ``rest`` they were."""
    count = shape[0] * shape[1]
    parameters = StrictObject(output.mapping("parameters", {}), what, EngineError)
    size = parameters.integer(BINARY_SIZE, -1)
    if size < 0:  # a server without the extension
        values = output.numbers("data")
        if len(values) != count:
            raise EngineError(f"{what}: expected {count} values, got {len(values)}")
        with np.errstate(over="ignore"):  # an infinite score is an engine's failure, told later
            return np.asarray(values, np.float32).reshape(shape), 0
    if size != 4 * count or size > len(rest):
        raise EngineError(f"{what}: expected {4 * count} bytes, got {min(size, len(rest))}")
    # Little-endian by the protocol; a copy, because the caller owns the scores.
    return np.frombuffer(rest[:size], "<f4").astype(np.float32).reshape(shape), size
