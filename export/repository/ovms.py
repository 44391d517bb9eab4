"""Repositories for OpenVINO Model Server: ``config.json`` and version folders for each model.

A version folder is the artifact itself; the server looks in it for the one ``.xml`` and ``.bin``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from runtime.errors import ConfigError

from .config import RepositoryConfig
from .models import Model, check_engines, copy_versions

__all__ = ["write_ovms"]

_CONFIG: Final = "config.json"


def write_ovms(models: Sequence[Model], config: RepositoryConfig, folder: Path) -> None:
    """Write a repository for OpenVINO Model Server into ``folder``.

    Raises:
        ConfigError: an artifact that is not for OpenVINO, or a model called as the server's own
            file is.
    """
    # The server also loads .onnx files, but runs them in OpenVINO, not in what proved them.
    check_engines(models, ("openvino",), "OpenVINO Model Server")
    for model in models:
        if model.name == _CONFIG:
            raise ConfigError(f"no model can be called {_CONFIG}; give it another by --names")
        (folder / model.name).mkdir()
        copy_versions(model, folder / model.name)
    listed = {"model_config_list": [{"config": _config(model, config)} for model in models]}
    (folder / _CONFIG).write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")


def _config(model: Model, config: RepositoryConfig) -> Mapping[str, Any]:
    precision = "bf16" if model.manifest.precision == "bf16" else "f32"
    return {
        "name": model.name,
        "base_path": model.name,  # beside config.json
        "target_device": "CPU",
        "nireq": config.instances,
        "model_version_policy": {"latest": {"num_versions": len(model.versions)}},
        "plugin_config": {
            "PERFORMANCE_HINT": "LATENCY" if config.instances == 1 else "THROUGHPUT",
            "NUM_STREAMS": str(config.instances),
            "INFERENCE_NUM_THREADS": str(config.threads * config.instances),
            # As in the runtime: by default a CPU with AMX rounds a float32 graph to bfloat16.
            "INFERENCE_PRECISION_HINT": precision,
        },
    }
