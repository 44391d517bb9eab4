"""What the reliability tests share: how big they run, and the counted line that each prints."""

from __future__ import annotations

import gc
import json
import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from runtime import session
from runtime.golden import write_golden
from runtime.manifest import GOLDEN_FILE, MANIFEST_FILE, FileRecord, Manifest
from runtime.scores import OperatingPoint
from tests.artifacts import TinyNetwork, write_artifact
from tests.engines import ENGINES, require

Count = Callable[..., None]


@pytest.fixture
def full() -> bool:
    """Whether to run in full size (``make reliability``), or for seconds."""
    return os.environ.get("HEADLIGHT_RELIABILITY") == "full"


@pytest.fixture
def small_heap() -> Iterator[None]:
    """Hides all objects that there are from the garbage collector, as if the process were young.

    5,000 collected tests make it stop everything for a quarter of a second, which no gateway sees.
    """
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def count(request: pytest.FixtureRequest, full: bool) -> Iterator[Count]:
    """Prints one line of JSON with what a test counted, and keeps it where asked to.

    ``HEADLIGHT_RELIABILITY_RECORD`` names the file that lines are added to.
    """
    lines: list[str] = []

    def note(name: str, **numbers: float | str | bool | None) -> None:
        lines.append(json.dumps({"test": name, "full": full, **numbers}, ensure_ascii=False))

    yield note
    assert lines, f"{request.node.name} counted nothing"
    record = os.environ.get("HEADLIGHT_RELIABILITY_RECORD")
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        for line in lines:
            print(line)
    if record:
        with Path(record).open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)


@pytest.fixture(scope="session")
def valid_artifacts(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes a valid artifact of an engine, once: the converter to TFLite takes its time."""
    folder = tmp_path_factory.mktemp("valid")

    @cache
    def make(engine: str) -> Path:
        if engine == "tflite":
            write_tflite_artifact(folder / engine)
        else:
            require(ENGINES[engine])
            write_artifact(folder / engine, TinyNetwork(), engine=engine)
        return folder / engine

    return make


@pytest.fixture(params=[*ENGINES, "tflite"])
def valid_artifact(request: pytest.FixtureRequest, valid_artifacts: Callable[[str], Path]) -> Path:
    """A valid artifact of every engine; do not change it, copy it."""
    return valid_artifacts(str(request.param))


def write_tflite_artifact(folder: Path) -> None:
    """As ``write_artifact``, of a network in torch, which the converter reads."""
    require("litert_torch")
    from export.tflite.converting import convert
    from tests.slimming import SCHEMA, SPEC, random_crops, tiny_network
    from train.scoring import score

    network = tiny_network(width=8)
    folder.mkdir()
    content = convert(network, SCHEMA, SPEC, batch=1, integer=False).inlined()
    (folder / "model.tflite").write_bytes(content)
    images = random_crops(3).numpy()
    write_golden(folder / GOLDEN_FILE, images, score(network, images))
    manifest = Manifest(
        id="lamps-fp32-tflite-test",
        version=1,
        schema=SCHEMA,
        input=SPEC,
        engine="tflite",
        engine_file="model.tflite",
        precision="fp32",
        operating=OperatingPoint(),
        golden_tolerance=0.01,
        files={path.name: FileRecord.of(path) for path in folder.iterdir()},
    )
    (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")


@pytest.fixture
def untouched_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test when any engine is asked to load anything."""

    def touched(*_: object) -> session.Session:
        raise AssertionError("the engine saw a file that was not verified")

    monkeypatch.setattr(session, "OPENERS", dict.fromkeys(session.OPENERS, touched))


@pytest.fixture
def copied(valid_artifact: Path, tmp_path: Path) -> Path:
    """A copy of it that may be changed."""
    return Path(shutil.copytree(valid_artifact, tmp_path / "artifact"))
