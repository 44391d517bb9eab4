from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from export.repository.models import gather
from export.repository.ovms import write_ovms
from runtime.cores import own_cores
from runtime.errors import ConfigError
from runtime.manifest import Manifest
from tests.engines import require

from .conftest import as_config, set_manifest


@pytest.fixture(autouse=True)
def _openvino() -> None:
    require("openvino")


def test_no_model_is_called_as_the_servers_file(make: Callable[..., Path], tmp_path: Path) -> None:
    config = as_config(make("a", engine="openvino"), server="ovms", names=("config.json",))
    with pytest.raises(ConfigError, match=r"called config\.json; give it another"):
        write_ovms(gather(config), config, tmp_path)


def test_two_models_one_with_two_versions(make: Callable[..., Path], tmp_path: Path) -> None:
    folders = [make(name, engine="openvino", version=i + 1) for i, name in enumerate("abc")]
    config = as_config(*folders, server="ovms", names=("plates", "plates", "clothes"), threads=2)
    (tmp_path / "out").mkdir()
    write_ovms(gather(config), config, tmp_path / "out")
    value = json.loads((tmp_path / "out" / "config.json").read_text())
    assert [*value] == ["model_config_list"]
    plates, clothes = (entry["config"] for entry in value["model_config_list"])
    assert (plates["name"], plates["base_path"]) == ("plates", "plates")
    assert plates["model_version_policy"] == {"latest": {"num_versions": 2}}
    assert clothes["model_version_policy"] == {"latest": {"num_versions": 1}}
    # float32 must not become bfloat16 behind the gate's back
    assert plates["plugin_config"]["INFERENCE_PRECISION_HINT"] == "f32"
    assert plates["plugin_config"]["INFERENCE_NUM_THREADS"] == "2"
    for entry in (plates, clothes):
        for version in (tmp_path / "out" / entry["base_path"]).iterdir():
            Manifest.load(version).check_files(version)
            # what the server looks for by its ending must be there once
            assert len([*version.glob("*.xml")]) == len([*version.glob("*.bin")]) == 1


def test_plugin_config_is_what_openvino_takes(make: Callable[..., Path], tmp_path: Path) -> None:
    from runtime.engine_imports import openvino_core

    artifact = make("plates", engine="openvino")
    config = as_config(artifact, server="ovms", instances=2)
    (tmp_path / "out").mkdir()
    write_ovms(gather(config), config, tmp_path / "out")
    listed = json.loads((tmp_path / "out" / "config.json").read_text())["model_config_list"]
    settings = listed[0]["config"]["plugin_config"]
    compiled = openvino_core().compile_model(artifact / "model.xml", "CPU", settings)
    assert compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"
    assert compiled.get_property("NUM_STREAMS") == min(2, len(own_cores()))


def test_bfloat16_stays(make: Callable[..., Path], tmp_path: Path) -> None:
    artifact = make("plates", engine="openvino")
    set_manifest(artifact, precision="bf16")
    config = as_config(artifact, server="ovms")
    (tmp_path / "out").mkdir()
    write_ovms(gather(config), config, tmp_path / "out")
    assert '"INFERENCE_PRECISION_HINT": "bf16"' in (tmp_path / "out" / "config.json").read_text()


def test_onnx_would_run_in_an_engine_that_proved_nothing(
    make: Callable[..., Path], tmp_path: Path
) -> None:
    config = as_config(make("plates"), server="ovms")
    with pytest.raises(ConfigError, match=r"export\.openvino"):
        write_ovms(gather(config), config, tmp_path)
