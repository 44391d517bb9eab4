"""Running ONNX graphs with ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from .arrays import Images, Logits
from .engine_imports import import_onnxruntime
from .errors import EngineError
from .graph_contract import Port, Scores, check_graph, check_images, run_fixed
from .preprocess import InputSpec
from .schema import INPUT_NAME, Schema
from .session import SessionOptions

__all__ = ["OnnxSession"]

_DTYPES: Final[Mapping[str, str]] = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}
_ERRORS_ONLY: Final = 3


class OnnxSession:
    """One ``onnxruntime.InferenceSession``, which any number of threads may share.

    Args:
        path: The ``.onnx`` file.
        schema: Heads that the outputs must be.
        spec: Size that the input must have.
        options: Threads; ONNX Runtime has no latency or throughput hint.

    Raises:
        EngineUnavailableError: onnxruntime is not installed.
        EngineError: the file is no graph, or not one for this schema and input.
    """

    def __init__(
        self, path: Path, schema: Schema, spec: InputSpec, options: SessionOptions
    ) -> None:
        onnxruntime = import_onnxruntime()
        self._version = str(onnxruntime.__version__)
        self._threads = options.threads
        self._errors = _errors(onnxruntime)
        try:
            session = onnxruntime.InferenceSession(
                str(path),
                _settings(onnxruntime, options),
                providers=["CPUExecutionProvider"],
                enable_fallback=0,  # it prints to stdout and loads a second time
            )
        except self._errors as error:
            raise EngineError(f"onnxruntime {self._version} cannot load {path}: {error}") from error
        inputs, outputs = _ports(session.get_inputs()), _ports(session.get_outputs())
        self._batch = check_graph(path, inputs, outputs, schema, spec)
        self._path = path
        self._spec = spec
        self._names = [port.name for port in outputs]
        self._session: Any = session

    def run(self, images: Images) -> Logits:
        """Score (N, height, width, 3) uint8 images; see ``Session.run``."""
        check_images(images, self._spec)
        if self._batch is None or self._batch == len(images):
            scores = self._run(images)
        else:
            scores = run_fixed(self._run, images, self._batch)
        return dict(zip(self._names, scores, strict=True))

    def _run(self, images: Images) -> Scores:
        session = self._session  # one read: close() may run in another thread
        if session is None:
            raise EngineError(f"the session of {self._path} was closed; open the artifact again")
        try:
            scores: Scores = session.run(self._names, {INPUT_NAME: images})
        except self._errors as error:
            raise EngineError(
                f"onnxruntime {self._version} failed on {self._path}: {error}"
            ) from error
        return scores

    def close(self) -> None:
        """Free the graph once the calls that are running have ended."""
        self._session = None

    @property
    def description(self) -> Mapping[str, str]:
        """Engine, version, device, threads, and where the precision is decided."""
        return {
            "engine": "onnxruntime",
            "version": self._version,
            "device": "cpu",
            "precision": "as in the graph",
            "threads": str(self._threads),
        }


def _settings(onnxruntime: Any, options: SessionOptions) -> Any:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = _ERRORS_ONLY
    # Idle worker threads that spin take the cores which decode video in the same process.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return settings


def _ports(values: Sequence[Any]) -> list[Port]:
    return [
        Port(
            value.name,
            _DTYPES.get(value.type, value.type),
            tuple(size if isinstance(size, int) else None for size in value.shape),
        )
        for value in values
    ]


def _errors(onnxruntime: Any) -> tuple[type[Exception], ...]:
    """Everything that ONNX Runtime raises; its C++ errors share no base but ``Exception``."""
    state = onnxruntime.capi.onnxruntime_pybind11_state
    own = [v for v in vars(state).values() if isinstance(v, type) and issubclass(v, Exception)]
    return (*own, RuntimeError, ValueError, TypeError)
