"""openvino-model-api (Apache-2.0) as a way of running our OpenVINO artifacts.

Only its engine part is used: ``OpenvinoAdapter.infer_sync``, and the queue behind ``infer_async``
with results copied in the callback, as its ``AsyncPipeline`` does. Its model wrappers resize and
decode for tasks of their own; crops are resized here as in the bare loop, and nothing is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from benchmarks.command import missing_extra
from benchmarks.rates import Worker, calls_until
from runtime.arrays import Image, Images
from runtime.engine_imports import openvino_core
from runtime.errors import MissingExtraError
from runtime.schema import INPUT_NAME

__all__ = ["ASYNC", "SYNC", "async_loop", "open_adapter", "sync_engine"]

SYNC: Final = "model-api infer_sync"
ASYNC: Final = "model-api infer_async"


def open_adapter(path: Path, shape: Sequence[int], *, threads: int) -> Any:
    """Load an artifact's graph as the bare loop of ``benchmarks.bare`` does.

    Args:
        path: The ``.xml`` file.
        shape: (N, height, width, 3), N images a call.
        threads: Cores for the engine; with more than one it favours throughput.

    Returns:
        A ``model_api.adapters.OpenvinoAdapter``.

    Raises:
        MissingExtraError: openvino-model-api is not installed.
    """
    core = openvino_core()  # first: it keeps OpenVINO from reporting usage
    try:
        adapters: Any = import_module("model_api.adapters")
    except ImportError as error:
        raise MissingExtraError(missing_extra("openvino-model-api", "model-api")) from error
    adapter = adapters.OpenvinoAdapter(
        core,
        str(path),
        device="CPU",
        plugin_config={
            "PERFORMANCE_HINT": "THROUGHPUT" if threads > 1 else "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
        },
    )
    adapter.reshape_model({INPUT_NAME: list(shape)})
    adapter.load_model()
    return adapter


def sync_engine(adapter: Any) -> Callable[[Images], object]:
    """Return what scores images, one call at a time; of one thread only.

    Two threads may be given the same idle request, so further threads need ``infer_async``.
    """
    return lambda images: adapter.infer_sync({INPUT_NAME: images})


def async_loop(adapter: Any, resizes: Sequence[Callable[[], Image]]) -> Worker:
    """Return a loop that resizes crops one by one and leaves them to the adapter's queue.

    Args:
        adapter: For one image a call.
        resizes: What ``bare_resize`` returns for each crop.
    """
    results: dict[int, object] = {}

    def done(request: Any, place: int) -> None:
        results[place] = adapter.copy_raw_result(request)

    adapter.set_callback(done)

    def work(until_s: float) -> int:
        results.clear()
        for call in calls_until(until_s):
            image = resizes[call % len(resizes)]()
            adapter.infer_async({INPUT_NAME: image[None]}, call)
        adapter.await_all()
        return len(results)

    return work
