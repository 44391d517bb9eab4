"""Packing: what comes out of shards is what was put in."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.labelled import read_labelled
from runtime.schema import Schema
from tests.slimming import SCHEMA
from tests.unit.benchmarks.crops.test_lists import ANIMALS, CODES
from tests.unit.benchmarks.crops.test_lists import write as write_numbers
from tests.unit.benchmarks.crops.test_shards import numbered
from train.shards import main


def pack(output: Path, *arguments: object) -> None:
    assert main([*map(str, arguments), "--output", str(output)]) == 0


def schema_file(folder: Path, schema: Schema) -> Path:
    path = folder / "schema.json"
    path.write_text(json.dumps(schema.to_object()), encoding="utf-8")
    return path


def test_samples_come_back_in_order_and_byte_for_byte(lamps: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    pack(output, lamps / "val", lamps / "train", "--shard-mb", "1")
    before = [read_labelled(lamps / name, SCHEMA) for name in ("val", "train")]
    after = read_labelled(output, SCHEMA)
    assert list(after.texts) == [text for part in before for text in part.texts]
    contents = [part.paths.content(i) for part in before for i in range(len(part))]
    assert [after.paths.content(i) for i in range(len(after))] == contents
    shards = sorted(output.iterdir())
    assert [path.name for path in shards] == [f"shards-{n:06}.tar" for n in range(len(shards))]
    assert len(shards) > 1
    assert all(path.stat().st_size < 2**20 + 10240 for path in shards)
    pack(tmp_path / "again", output)  # shards are a source, too, and the time leaves no trace
    assert len(read_labelled(tmp_path / "again", SCHEMA)) == len(after)


def test_packing_twice_gives_the_same_bytes(lamps: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        pack(tmp_path / name, lamps / "val")
    assert (tmp_path / "a" / "shards-000000.tar").read_bytes() == (
        tmp_path / "b" / "shards-000000.tar"
    ).read_bytes()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the library leaves its files open
def test_the_webdataset_library_reads_them(lamps: Path, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    pack(tmp_path / "out", lamps / "val")
    shards = str(tmp_path / "out" / "shards-{000000..000000}.tar")
    found = list(webdataset.WebDataset(shards, shardshuffle=False))
    crops = read_labelled(lamps / "val", SCHEMA)
    assert [sample["txt"].decode() for sample in found] == list(crops.texts)
    assert [sample["png"] for sample in found] == [path.read_bytes() for path in crops.paths]


def test_labels_given_as_numbers_are_packed_by_name(tmp_path: Path) -> None:
    source = write_numbers(tmp_path, "a.png 1 0 1", "b.png -1 1 -1")
    pack(tmp_path / "out", source, "--schema", schema_file(tmp_path, CODES))
    before, after = read_labelled(source, CODES), read_labelled(tmp_path / "out", CODES)
    for name, column in before.targets.choices.items():
        assert after.targets.choices[name].tolist() == column.tolist()


def test_regions_are_cut_out(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "p.png"), image)
    source = write_numbers(tmp_path, "p.png bus 5 2 10 9 0 -1 1")
    pack(tmp_path / "out", source, "--schema", schema_file(tmp_path, ANIMALS))
    crops = read_labelled(tmp_path / "out", ANIMALS)
    np.testing.assert_array_equal(crops.image(0), image[1:9, 4:10])
    assert crops.targets.labels["traits"].tolist() == [[0, -1, 1]]
    assert crops.targets.choices["kind"].tolist() == [1]


def test_tables_are_packed_with_all_columns(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    table = tmp_path / "t.csv"
    table.write_text("path,colour,age\na.png,red,3\n", encoding="utf-8")
    pack(tmp_path / "out", table)
    with tarfile.open(tmp_path / "out" / "shards-000000.tar") as tar:
        member = tar.extractfile("00000000.json")
        assert member is not None
        assert json.load(member) == {"colour": "red", "age": "3"}


@pytest.mark.parametrize("skip", [False, True])
def test_bad_rows_stop_it_or_are_left_out(
    lamps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], skip: bool
) -> None:
    source = tmp_path / "list.tsv"
    good = lamps / "val" / "0.png"
    source.write_text(
        f"{good}\tred,left\nnone.png\tred,left\n{good}\tpink,left\n", encoding="utf-8"
    )
    schema = schema_file(tmp_path, SCHEMA)
    output = tmp_path / "out"
    arguments = [str(source), "--schema", str(schema), "--output", str(output)]
    assert main([*arguments, "--skip-bad"] if skip else arguments) == (0 if skip else 1)
    told = capsys.readouterr()
    if skip:
        assert "left out 2 bad rows" in told.err
        assert "packed 1 samples into 1 shards" in told.out
        assert len(read_labelled(output, SCHEMA)) == 1
    else:
        assert f"{source}:2: none.png" in told.err.replace(f"{tmp_path}/none", "none")
        assert f"{source}:3: head 'colour' has no label 'pink'" in told.err
        assert sorted(path.name for path in tmp_path.iterdir()) == ["list.tsv", "schema.json"]


def test_damaged_shards_leave_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (source,) = numbered(tmp_path / "in", 3)
    source.write_bytes(source.read_bytes()[:3000])
    assert main([str(source), "--output", str(tmp_path / "out")]) == 1
    assert "cut short" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
