"""TensorRT's Python module with the names of one version; ONNX Runtime computes."""

from __future__ import annotations

import ctypes
import json
from enum import Enum, IntEnum
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tests.fake_tensorrt import cuda, surface

_TYPES = {"tensor(uint8)": "UINT8", "tensor(float)": "FLOAT", "tensor(float16)": "HALF"}


class _Builder:
    num_DLA_cores = 1  # noqa: N815

    def __init__(self, log: Any) -> None:
        log.log(self._trt.ILogger.Severity.INFO, "started")
        self._log = log

    def create_network(self, flags: int = 0) -> Any:
        network = self._trt.INetworkDefinition()
        network._flags = flags
        return network

    def create_builder_config(self) -> Any:
        return self._trt.IBuilderConfig()

    def create_optimization_profile(self) -> Any:
        return self._trt.IOptimizationProfile()

    def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
        image = network.get_input(0)
        if -1 in image.shape and config._profile is None:
            self._log.log(self._trt.ILogger.Severity.ERROR, "no optimization profile was defined")
            return None
        header = {
            "version": self._trt.__version__,
            "network_flags": network._flags,
            "flags": sorted(config._flags),
            "cleared": sorted(config._cleared),
            "profile": config._profile,
            "workspace": config._pools,
            "level": getattr(config, "_level", None),
        }
        return json.dumps(header).encode() + b"\n" + network._graph


class _Config:
    def __init__(self) -> None:
        self._flags: set[str] = set()
        self._cleared: set[str] = set()
        self._pools: dict[str, int] = {}
        self._profile: Any = None
        self._timings: Any = None

    def set_flag(self, flag: IntEnum) -> None:
        self._flags.add(flag.name)

    def clear_flag(self, flag: IntEnum) -> None:
        self._cleared.add(flag.name)

    def set_memory_pool_limit(self, pool: IntEnum, size: int) -> None:
        self._pools[pool.name] = size

    def add_optimization_profile(self, profile: Any) -> int:
        if profile._shapes[0][0] > profile._shapes[1][0]:
            return -1
        self._profile = profile._shapes
        return 0

    def create_timing_cache(self, content: bytes) -> Any:
        cache = self._trt.ITimingCache()
        cache._content = content
        return cache

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        self._timings = cache
        return not cache._content.startswith(b"other")

    def get_timing_cache(self) -> Any:
        return self._timings

    def can_run_on_DLA(self, layer: str) -> bool:  # noqa: N802
        return layer != "Softmax"

    profiling_verbosity: Any = None
    builder_optimization_level: Any = 3
    default_device_type: Any = None
    DLA_core = -1


class _TimingCache:
    _content = b""

    def serialize(self) -> bytes:
        return self._content + b"timings"


class _Profile:
    _shapes: Any = ()

    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        assert name == "image"
        self._shapes = shapes


class _Network:
    _graph = b""
    _layers = ("Conv", "Relu", "Softmax")

    @property
    def num_layers(self) -> int:
        return len(self._layers)

    def get_layer(self, index: int) -> str:
        return self._layers[index]

    def get_input(self, index: int) -> Any:
        port = _open(self._graph).get_inputs()[index]
        tensor = self._trt.ITensor()
        tensor.name, tensor.shape = port.name, _shape(port)
        return tensor


class _Tensor:
    name = ""
    shape: tuple[int, ...] = ()


class _Parser:
    def __init__(self, network: Any, log: Any) -> None:
        self._network, self._log, self._errors = network, log, list[str]()

    def parse_from_file(self, path: str) -> bool:
        self._network._graph = Path(path).read_bytes()
        try:
            _open(self._network._graph)
        except Exception as error:  # noqa: BLE001 - what ONNX Runtime raises shares no other base
            self._errors.append(f"no graph: {type(error).__name__}")
        return not self._errors

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> Any:
        error = self._trt.ParserError()
        error._text = self._errors[index]
        return error


class _ParserError:
    def desc(self) -> str:
        return str(self._text)  # type: ignore[attr-defined]


class _Runtime:
    def __init__(self, log: Any) -> None:
        self._log = log

    def deserialize_cuda_engine(self, plan: bytes) -> Any:
        header, _, graph = plan.partition(b"\n")
        try:
            facts = json.loads(header)
        except ValueError:
            facts = {"version": "unknown"}
        if facts["version"] != self._trt.__version__:
            text = f"built by {facts['version']}, not {self._trt.__version__}"
            self._log.log(self._trt.ILogger.Severity.ERROR, text)
            return None
        engine = self._trt.ICudaEngine()
        engine._session, engine._profile = _open(graph), facts["profile"]
        # The other way round than the graph: nothing may depend on it.
        engine._ports = [*engine._session.get_inputs(), *reversed(engine._session.get_outputs())]
        return engine


class _Engine:
    num_bindings = 3
    _contexts = 0

    @property
    def num_io_tensors(self) -> int:
        return len(self._ports)

    def get_tensor_name(self, index: int) -> str:
        return str(self._ports[index].name)

    def _port(self, name: str) -> Any:
        return next(port for port in self._ports if port.name == name)

    def get_tensor_dtype(self, name: str) -> Any:
        return self._trt.DataType[_TYPES[self._port(name).type]]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return _shape(self._port(name))

    def get_tensor_mode(self, name: str) -> Any:
        return self._trt.TensorIOMode["INPUT" if name == "image" else "OUTPUT"]

    def get_tensor_profile_shape(self, name: str, index: int) -> list[tuple[int, ...]]:
        assert (name, index) == ("image", 0)
        return [tuple(shape) for shape in self._profile]

    def create_runtime_config(self) -> Any:
        return self._trt.IRuntimeConfig()

    def create_execution_context(self, runtime_config: Any = None) -> Any:
        self._contexts += 1
        if self._contexts > 1 and hasattr(self, "num_bindings"):
            return None  # TensorRT 8: a profile belongs to one context
        context = self._trt.IExecutionContext()
        context._engine, context._addresses, context._shape = self, {}, None
        return context

    def create_engine_inspector(self) -> Any:
        return self._trt.EngineInspector()


class _Inspector:
    def get_engine_information(self, kind: Any) -> str:
        assert kind == self._trt.LayerInformationFormat.JSON
        layer = {"LayerType": "CaskConvolution", "Inputs": [{"Format/Datatype": "Row major FP32"}]}
        return json.dumps({"Layers": [layer, layer, {"LayerType": "Reformat"}]})


class _RuntimeConfig:
    cuda_graph_strategy: Any = None


class _Context:
    def set_tensor_address(self, name: str, address: int) -> bool:
        assert address in cuda.LIVE
        self._addresses[name] = address
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == "image"
        profile = self._engine._profile
        self._shape = tuple(shape)
        return profile is None or profile[0][0] <= shape[0] <= profile[2][0]

    def execute_async_v3(self, stream: int) -> bool:
        assert stream in cuda.LIVE
        cuda.CALLS.append(f"execute {self._shape[0]}")
        cuda.enqueue(self._compute)
        return "execute" not in cuda.FAILING

    def _compute(self) -> None:
        size = int(np.prod(self._shape))
        images = _array(self._addresses["image"], size, np.uint8).reshape(self._shape)
        session = self._engine._session
        names = [output.name for output in session.get_outputs()]
        for name, scores in zip(names, session.run(names, {"image": images}), strict=True):
            _array(self._addresses[name], scores.size, np.float32)[:] = scores.ravel()


def _array(address: int, count: int, dtype: Any) -> Any:
    size = count * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_uint8 * size).from_address(address), dtype)


def _open(graph: bytes) -> Any:
    from runtime.engine_imports import import_onnxruntime

    onnxruntime = import_onnxruntime()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = 1, 4
    return onnxruntime.InferenceSession(graph, settings, providers=["CPUExecutionProvider"])


def _shape(port: Any) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) else -1 for size in port.shape)


class _Logger:
    def log(self, severity: Any, message: str) -> None:
        raise NotImplementedError


_BEHAVIOUR: dict[str, type] = {
    "Builder": _Builder,
    "EngineInspector": _Inspector,
    "IBuilderConfig": _Config,
    "ICudaEngine": _Engine,
    "IExecutionContext": _Context,
    "ILogger": _Logger,
    "INetworkDefinition": _Network,
    "IOptimizationProfile": _Profile,
    "IRuntimeConfig": _RuntimeConfig,
    "ITensor": _Tensor,
    "ITimingCache": _TimingCache,
    "OnnxParser": _Parser,
    "ParserError": _ParserError,
    "Runtime": _Runtime,
}


def plan(version: str, graph: bytes, profile: Any = None) -> bytes:
    """Return an engine file."""
    header = {"version": version.removeprefix("rtx-"), "profile": profile}
    return json.dumps(header).encode() + b"\n" + graph


def make(version: str) -> ModuleType:
    """Return the module of a recorded version: ``10.3.0``, ``rtx-1.7.1``."""
    module: Any = ModuleType("tensorrt_rtx" if version.startswith("rtx") else "tensorrt")
    module.__spec__ = ModuleSpec(module.__name__, None)
    module.__version__ = version.removeprefix("rtx-")
    names = surface.members(version)
    for name, found in names.items():
        if name in surface.recorded()["enums"]:
            setattr(module, name, IntEnum(name, {word: i for i, word in enumerate(found)}))
        elif name in _BEHAVIOUR:
            setattr(module, name, _restricted(module, name, _BEHAVIOUR[name], set(found)))
    module.ILogger.Severity = Enum(
        "Severity", ["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"]
    )
    return module  # type: ignore[no-any-return]


def _restricted(module: ModuleType, name: str, behaviour: type, found: set[str]) -> type:
    """Return ``behaviour`` without what the version does not have."""

    def absent(word: str) -> property:
        def get(_: object) -> None:
            raise AttributeError(f"{module.__name__} {module.__version__}: {name}.{word}")

        return property(get)

    def assign(self: object, word: str, value: object) -> None:
        if not word.startswith("_") and word not in found and name != "ILogger":
            raise AttributeError(f"{module.__name__} {module.__version__}: {name}.{word}")
        object.__setattr__(self, word, value)

    public = {word for word in dir(behaviour) if not word.startswith("_")}
    hidden = {word: absent(word) for word in public - found}
    return type(name, (behaviour,), {**hidden, "_trt": module, "__setattr__": assign})
