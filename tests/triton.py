"""The real Triton server, where one is at hand, with a stand-in for its backends.

The PyPI package ``nvidia-pytriton`` carries the server's binary and its Python backend, but neither
the ONNX nor the OpenVINO backend. Tests put it in a folder and name that in HEADLIGHT_TRITON::

    pip install --no-deps --target FOLDER nvidia-pytriton

The server then reads our repositories as they are, except that each model's backend becomes a
``model.py`` that runs the artifact in the version folder with ``runtime.session``.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

__all__ = ["run_triton", "stand_in"]

_MODEL = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
import numpy as np
import triton_python_backend_utils as triton
from runtime.manifest import Manifest
from runtime.session import SessionOptions, open_session


class TritonPythonModel:
    def initialize(self, args):
        folder = Path(args["model_repository"], args["model_version"])
        self.session = open_session(folder, Manifest.load(folder), SessionOptions())
        self.log = folder / "batches.log"

    def execute(self, requests):
        # By DLPack: this backend was compiled for numpy 1 and mistakes arrays of numpy 2.
        tensors = [triton.get_input_tensor_by_name(r, "image") for r in requests]
        images = [np.from_dlpack(tensor) for tensor in tensors]
        with self.log.open("a") as log:
            print(*map(len, images), file=log)
        scores = self.session.run(np.concatenate(images))
        ends = np.cumsum([len(part) for part in images])[:-1]
        parts = dict((name, np.split(values, ends)) for name, values in scores.items())
        tensor = triton.Tensor.from_dlpack
        return [
            triton.InferenceResponse([tensor(name, parts[name][i].copy()) for name in parts])
            for i in range(len(requests))
        ]
"""


def stand_in(repository: Path) -> None:
    """Change a repository so that the Python backend runs its models."""
    for config in repository.glob("*/config.pbtxt"):
        text, count = re.subn(
            r'backend: "\w+"\ndefault_model_filename: "[\w.]+"',
            'backend: "python"',
            config.read_text(encoding="utf-8"),
        )
        assert count == 1
        config.write_text(text, encoding="utf-8")
        for manifest in config.parent.glob("*/artifact.json"):
            code = _MODEL.format(path=[path for path in sys.path if path] + [str(Path.cwd())])
            manifest.with_name("model.py").write_text(code, encoding="utf-8")


@contextmanager
def run_triton(repository: Path, scratch: Path) -> Iterator[str]:
    """Run the server on a repository; yield its URL once every model is ready, or skip."""
    named = os.environ.get("HEADLIGHT_TRITON")
    if not named:
        pytest.skip("HEADLIGHT_TRITON names no folder with nvidia-pytriton in it")
    root = Path(named) / "pytriton" / "tritonserver"
    backend = scratch / "backends" / "python"
    shutil.copytree(root / "backends" / "python", backend)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = root / "python_backend_stubs" / version / "triton_python_backend_stub"
    shutil.copy(stub, backend)
    (backend / stub.name).chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [
        root / "bin" / "tritonserver", "--model-repository", repository, "--backend-directory",
        backend.parent, "--http-address", "127.0.0.1", "--http-port", port, "--allow-grpc", "false",
        "--allow-metrics", "false", "--exit-timeout-secs", "5",
        "--disable-auto-complete-config",
    ]  # fmt: skip
    log = scratch / "triton.log"
    with log.open("wb") as stream:
        server = subprocess.Popen(
            [*map(str, command)],
            stdout=stream,
            stderr=stream,
            # The copied stub looks for its libraries there no longer by itself.
            env={**os.environ, "LD_LIBRARY_PATH": str(Path(named) / "nvidia_pytriton.libs")},
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(server, f"{url}/v2/health/ready", log)
            yield url
        finally:
            server.terminate()
            server.wait(timeout=30)


def _wait(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    for _ in range(240):
        assert server.poll() is None, log.read_text(encoding="utf-8", errors="replace")[-4000:]
        with suppress(OSError), urllib.request.urlopen(url, timeout=1):
            return
        time.sleep(0.25)
    pytest.fail("Triton did not become ready")
