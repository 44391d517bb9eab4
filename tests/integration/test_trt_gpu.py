"""The real thing: engines built, proven and run on an NVIDIA GPU, with TensorRT or TensorRT-RTX."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from export.trt.cli import TrtConfig, export_kit, main
from export.trt.kit import main as build_kit
from runtime.errors import EngineUnavailableError
from runtime.gpu import cuda_devices
from runtime.manifest import Manifest
from runtime.session import SessionOptions, open_session
from runtime.trt_module import import_tensorrt
from train.checkpoint import load_checkpoint
from train.data import load_crops
from train.scoring import score

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("one_thread")]
PRECISIONS = ("fp32", "fp16", "int8")


@pytest.fixture(scope="module", params=["trt", "rtx"])
def engine(request: pytest.FixtureRequest) -> str:
    if not cuda_devices():
        pytest.skip("this machine has no NVIDIA GPU that its driver knows of")
    name = str(request.param)
    try:
        import_tensorrt(name)
    except EngineUnavailableError as error:
        pytest.skip(str(error))
    return name


@pytest.fixture(scope="module", params=PRECISIONS)
def artifact(
    request: pytest.FixtureRequest, engine: str, lamps_checkpoint: Path, lamps_int8: Path,
    lamps: Path,
) -> Path:  # fmt: skip
    precision = str(request.param)
    target = lamps / f"{engine}-{precision}"
    checkpoint = lamps_int8 if precision == "int8" else lamps_checkpoint
    words = [str(checkpoint), "--validation", str(lamps / "val"), "--output", str(target)]
    words += ["--gate.max-flips", "0.05", "--profile", "1", "8", "32"]
    words += [] if precision == "int8" else ["--precision", precision]
    if main([*words, *(["--rtx"] if engine == "rtx" else [])]) == 0:
        return target
    if engine == "rtx":
        # A finding, not a fault: RTX supports few cards that are no RTX cards.
        pytest.skip(f"TensorRT-RTX makes no engine for {cuda_devices()[0]}; its error is above")
    pytest.fail("no engine; the error is above")


def test_it_answers_as_the_checkpoint_with_and_without_a_graph(
    artifact: Path, lamps_checkpoint: Path, lamps: Path
) -> None:
    manifest = Manifest.load(artifact)
    checkpoint = load_checkpoint(lamps_checkpoint)
    crops = load_crops([lamps / "val"], checkpoint.schema, checkpoint.input)
    images = crops.images_at(np.arange(96))
    expected = score(checkpoint.build(), images)
    loose = {"fp32": 1e-3, "fp16": 0.05, "int8": 0.5}[manifest.precision]
    session = open_session(artifact, manifest, SessionOptions(batch=16))
    for batch in (1, 16, 7, 96):  # recorded, recorded, not recorded, in parts
        for start in range(0, 96, batch):
            found = session.run(images[start : start + batch])
            for name, scores in found.items():
                wanted = expected[name][start : start + batch]
                assert np.abs(scores - wanted).max() <= loose * max(1.0, np.abs(wanted).max())
    told = session.description
    assert told["cuda_graphs"] in ("for a batch of 1 and 16", "by the engine")
    assert "no CUDA graphs" not in told.get("fallback", "")
    assert told["version"] in manifest.passport["engine"]
    session.close()


def test_threads_get_their_own_answers(artifact: Path, lamps: Path) -> None:
    manifest = Manifest.load(artifact)
    images = load_crops([lamps / "val"], manifest.schema, manifest.input).images_at(np.arange(64))
    session = open_session(artifact, manifest, SessionOptions())
    alone = [session.run(images[i : i + 1]) for i in range(64)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda i: session.run(images[i : i + 1]), range(64)))
    for first, second in zip(alone, together, strict=True):
        for name, scores in first.items():
            np.testing.assert_array_equal(scores, second[name])
    session.close()


def test_a_kit_becomes_an_artifact(
    engine: str, lamps_int8: Path, lamps: Path, artifact: Path
) -> None:
    kit, target = lamps / f"{artifact.name}-kit", lamps / f"{artifact.name}-from-kit"
    config = TrtConfig(
        checkpoint=lamps_int8,
        validation=(lamps / "val",),
        output=kit,
        kit=True,
        rtx=engine == "rtx",
    )
    export_kit(config)
    assert build_kit([str(kit), "--output", str(target)]) == 0
    assert Manifest.load(target).passport["gpu"] == cuda_devices()[0].name
