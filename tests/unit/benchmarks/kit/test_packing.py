from __future__ import annotations

import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.crops.unlabelled import unlabelled_rows
from benchmarks.kit.contents import INDEX, NAME, Settings, read_contents
from benchmarks.kit.crops import LABELS, PICTURES, pack_crops
from benchmarks.kit.packing import Parts, pack, write_tar
from benchmarks.labelled import read_labelled
from benchmarks.scoring import open_engine
from runtime.errors import ConfigError, DataError, IntegrityError
from runtime.file_records import FileRecord
from runtime.schema import Head, HeadKind, Schema
from tests.artifacts import TinyNetwork, random_images
from tests.foreign import write_foreign

from .plates import crops, parts_of

COLOURS = Schema(
    name="colours",
    heads=(
        Head(name="colour", kind=HeadKind.CHOICE, labels=("red", "blue")),
        Head(name="tags", kind=HeadKind.LABELS, labels=("new", "worn")),
    ),
)


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return parts_of(tmp_path)


def test_the_same_inputs_give_the_same_bytes(parts: Parts, tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        pack(parts, folder)
        write_tar(folder, tmp_path / f"{name}.tar.gz")
        digests.add(FileRecord.of(tmp_path / f"{name}.tar.gz").sha256)
    assert len(digests) == 1


def test_a_kit_holds_what_a_device_needs_and_no_more(parts: Parts, tmp_path: Path) -> None:
    folder = tmp_path / "kit"
    folder.mkdir()
    contents = pack(parts, folder)
    write_tar(folder, tmp_path / "kit.tar.gz")
    with tarfile.open(tmp_path / "kit.tar.gz") as tar:
        members = {member.name: member for member in tar}
    names = {name.removeprefix(f"{NAME}/") for name in members}
    assert names == {*contents.files, INDEX}
    assert {"run.sh", "run.py", "budget.json", "packages/runtime/reader.py"} <= names
    parts_of_names = {part for name in names for part in name.split("/")[:-1]}
    assert not {"__pycache__", "gateway", "train", "results"} & parts_of_names
    assert members[f"{NAME}/run.sh"].mode == 0o755
    assert {member.mtime for member in members.values()} == {0}
    assert {(member.uid, member.uname) for member in members.values()} == {(0, "")}


def test_what_was_packed_is_read_again(parts: Parts, tmp_path: Path) -> None:
    folder = tmp_path / "kit"
    folder.mkdir()
    assert pack(parts, folder) == read_contents(folder)


def test_damage_is_told(parts: Parts, tmp_path: Path) -> None:
    folder = tmp_path / "kit"
    folder.mkdir()
    pack(parts, folder)
    with (folder / "packages/runtime/reader.py").open("a") as stream:
        stream.write("#\n")
    with pytest.raises(ConfigError, match=r"1 files .* packages/runtime/reader.py"):
        read_contents(folder)
    (folder / INDEX).write_text("{")
    with pytest.raises(ConfigError, match="unpack the kit again"):
        read_contents(folder)


def test_artifacts_are_checked_before_they_are_packed(parts: Parts, tmp_path: Path) -> None:
    (artifact,) = parts.artifacts.values()
    (artifact / "model.onnx").write_bytes(b"changed")
    (tmp_path / "kit").mkdir()
    with pytest.raises(IntegrityError):
        pack(parts, tmp_path / "kit")


def test_a_budget_becomes_json_that_every_python_reads(parts: Parts, tmp_path: Path) -> None:
    folder = tmp_path / "kit"
    folder.mkdir()
    pack(parts, folder)
    budget = json.loads((folder / "budget.json").read_text())
    assert budget["limits"][0] == {"metric": "size.engine_mb", "max": 1.0}


def test_a_folder_without_wheels_is_refused(parts: Parts, tmp_path: Path) -> None:
    (tmp_path / "kit").mkdir()
    (tmp_path / "wheels").mkdir()
    with pytest.raises(ConfigError, match="no wheels"):
        pack(replace(parts, wheels=tmp_path / "wheels"), tmp_path / "kit")


def test_a_list_keeps_its_labels(tmp_path: Path) -> None:
    source = crops(tmp_path / "data", ["red,new|worn", "blue", ",-"])
    assert pack_crops(source, COLOURS, tmp_path / "packed")
    before = read_labelled(source, COLOURS)
    after = read_labelled(tmp_path / "packed" / LABELS, COLOURS)
    for name, values in before.targets.choices.items():
        assert (after.targets.choices[name] == values).all()
    for name, values in before.targets.labels.items():
        assert (after.targets.labels[name] == values).all()
    pictures = unlabelled_rows(tmp_path / "packed" / PICTURES).pictures
    assert [pictures.content(i) for i in range(3)] == [before.paths.content(i) for i in range(3)]


def test_a_table_keeps_labels_that_are_given_in_part(tmp_path: Path) -> None:
    source = crops(tmp_path / "data", ["red", "red"]).with_name("table.csv")
    source.write_text("path,colour,tags=new\nimages/0.png,blue,0\nimages/1.png,,1\n")
    assert pack_crops(source, COLOURS, tmp_path / "packed")
    found = read_labelled(tmp_path / "packed" / LABELS, COLOURS).targets
    assert found.choices["colour"].tolist() == [1, -1]
    assert found.labels["tags"].tolist() == [[0, -1], [1, -1]]  # worn is unknown, not absent


def test_pictures_without_labels_measure_speed(tmp_path: Path) -> None:
    source = crops(tmp_path / "data", ["red", "red"]).parent / "images"
    assert not pack_crops(source, COLOURS, tmp_path / "packed")
    assert len(unlabelled_rows(tmp_path / "packed" / PICTURES)) == 2
    assert not (tmp_path / "packed" / LABELS).exists()


def test_wrong_labels_are_told_before_the_kit_travels(tmp_path: Path) -> None:
    source = crops(tmp_path / "data", ["red", "green"])
    with pytest.raises(DataError, match="green"):
        pack_crops(source, COLOURS, tmp_path / "packed")


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="--threads"):
        Settings(threads=0)


def test_a_bare_model_travels_with_its_description(parts: Parts, tmp_path: Path) -> None:
    network = TinyNetwork()
    described = write_foreign(tmp_path / "bare", network)
    (tmp_path / "kit").mkdir()
    both = {**parts.artifacts, "bare": described}
    contents = pack(replace(parts, artifacts=both), tmp_path / "kit")
    packed = tmp_path / "kit" / contents.artifacts["bare"]
    assert packed.suffix == ".json"  # which every Python reads
    shutil.rmtree(tmp_path / "bare")
    images = random_images(3)
    with open_engine(packed) as (_, session):
        scores = session.run(images)
    for name, expected in network.logits(images).items():
        np.testing.assert_allclose(scores[name], expected, atol=1e-3)
