"""Fixtures that several packages' tests share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.artifacts import TinyNetwork, write_artifact
from tests.engines import ENGINES, require

# Shared machines stall; a deadline would then fail tests that are right.
settings.register_profile(
    "headlight", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("headlight")


@pytest.fixture(scope="session", params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine in turn."""
    name = str(request.param)
    require(ENGINES[name])
    return name


@pytest.fixture(scope="session")
def network() -> TinyNetwork:
    """The network that ``tiny_artifact`` holds; its ``logits`` are the oracle."""
    return TinyNetwork()


@pytest.fixture(scope="session")
def tiny_artifact(
    engine: str, network: TinyNetwork, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A valid artifact of each engine; do not change it, copy it."""
    folder = tmp_path_factory.mktemp("artifacts") / engine
    write_artifact(folder, network, engine=engine)
    return folder


@pytest.fixture
def make_artifact(tmp_path: Path) -> Callable[..., Path]:
    """Write artifacts below ``tmp_path``: ``make_artifact(network, **write_artifact_options)``."""

    def make(network: TinyNetwork, **options: object) -> Path:
        folder = tmp_path / f"artifact-{len(list(tmp_path.iterdir()))}"
        write_artifact(folder, network, **options)  # type: ignore[arg-type]
        return folder

    return make


@pytest.fixture(autouse=True)
def forgetful_tyro() -> None:
    """Make each test's command lines the first of its process.

    tyro keeps the unknown options of one for the message of the next, where a program's name has a
    space in it; a user's process has one command line.
    """
    formatter = sys.modules.get("tyro._argparse_formatter")
    if formatter is not None:
        formatter.global_unrecognized_arg_and_prog.clear()


@pytest.fixture(scope="session")
def one_thread() -> Iterator[None]:
    """Torch on one thread: tiny networks are faster so, and the machine stays usable."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def lamps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders ``train`` (256 crops) and ``val`` (96 crops) of an easy task; do not change them."""
    from tests.slimming import write_lamps

    folder = tmp_path_factory.mktemp("lamps")
    write_lamps(folder / "train", 256, seed=0)
    write_lamps(folder / "val", 96, seed=1)
    return folder


@pytest.fixture(scope="session")
def lamps_checkpoint(one_thread: None, lamps: Path) -> Path:
    """A checkpoint that was trained on ``lamps`` until it is sure; do not change it."""
    from tests.training import lamps_config
    from train.fit import fit

    return fit(lamps_config(lamps, lamps / "checkpoint", steps=80)).folder


@pytest.fixture(scope="session")
def lamps_int8(lamps_checkpoint: Path, lamps: Path) -> Path:
    """``lamps_checkpoint`` quantised; do not change it."""
    from compress.quantize.cli import main

    target = lamps / "int8"
    options = ["--calibration", lamps / "train", "--validation", lamps / "val", "--samples", "64"]
    options += ["--max-flips", "0.05"]
    assert main([*map(str, [lamps_checkpoint, *options, "--output", target])]) == 0
    return target
