"""The command: ``python -m export.repository ARTIFACT... --for SERVER --output DIR``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.command import run_command
from runtime.staging import check_free, new_folder

from .config import RepositoryConfig
from .deepstream import write_deepstream
from .models import Model, gather
from .ovms import write_ovms
from .triton import write_triton

__all__ = ["main", "write_repository"]

_WRITERS: Final[Mapping[str, Callable[[Sequence[Model], RepositoryConfig, Path], None]]] = {
    "triton": write_triton,
    "ovms": write_ovms,
    "deepstream": write_deepstream,
}
_NEXT: Final[Mapping[str, str]] = {
    # Configs are complete; the server's own completion may put a batch size of its own into them.
    "triton": "tritonserver --disable-auto-complete-config --model-repository {}",
    "ovms": "ovms --config_path {}/config.json --rest_port 8000",
    "deepstream": "set config-file-path of nvinfer to {}/MODEL/config_infer.txt",
}


def write_repository(config: RepositoryConfig) -> list[Model]:
    """Write a repository as ``config`` says, whole or not at all.

    Raises:
        HeadlightError: an artifact that is broken, unsigned or not for this server, or an OUTPUT
            that exists.
    """
    check_free(config.output, overwrite=config.overwrite)
    models = gather(config)
    with new_folder(config.output, overwrite=config.overwrite) as folder:
        _WRITERS[config.server](models, config, folder)
    return models


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(argv, RepositoryConfig, _work, prog="python -m export.repository")


def _work(config: RepositoryConfig) -> int:
    models = write_repository(config)
    names = ", ".join(
        f"{model.name} (version {', '.join(map(str, model.versions))})" for model in models
    )
    print(f"wrote {config.output}: {names}; next: {_NEXT[config.server].format(config.output)}")
    return 0
