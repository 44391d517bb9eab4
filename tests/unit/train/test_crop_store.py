"""Crops come from memory or from disk, and are the same; memory keeps to its budget."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.labelled import read_labelled
from runtime.errors import DataError
from runtime.preprocess import InputSpec
from tests.slimming import SCHEMA, SPEC
from tests.training import write_schema
from train.crop_store import CropStore, read_sources

CROP_BYTES = 16 * 32 * 3
PER_MIB = 2**20 // CROP_BYTES  # 682 crops


def read(sources: list[Path], spec: InputSpec = SPEC, **options: object) -> CropStore:
    options = {"first": range(len(sources)), "cache_mb": 1} | options
    return read_sources(sources, SCHEMA, spec, **options)[1]  # type: ignore[arg-type]


def repeated(lamps: Path, tmp_path: Path, count: int) -> Path:
    """A list of ``count`` samples, of more bytes than there are pictures."""
    path = tmp_path / "long.tsv"
    names = (lamps / "train" / f"{number % 256}.png" for number in range(count))
    path.write_text("".join(f"{name}\tred,left\n" for name in names), encoding="utf-8")
    return path


def test_crops_are_the_same_from_memory_and_from_disk(lamps: Path, tmp_path: Path) -> None:
    sources = [lamps / "val", repeated(lamps, tmp_path, 900)]
    spec = InputSpec(height=20, width=44, resize="letterbox")
    expected = np.concatenate([read_labelled(path, SCHEMA).fitted(spec) for path in sources])
    index = np.random.default_rng(0).integers(0, len(expected), 300)
    for cache_mb in (0, 1, 64):
        store = read(sources, spec, cache_mb=cache_mb)
        assert len(store.cache) == min(len(store), cache_mb * 2**20 // (20 * 44 * 3))
        np.testing.assert_array_equal(store.images_at(index), expected[index])
        assert store.images_at(index[:0]).shape == (0, 20, 44, 3)


def test_the_check_decodes_once_and_the_cache_not_again(
    lamps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    decode = cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda *a: decoded.append(1) or decode(*a))
    store = read([lamps / "train"])
    assert len(decoded) == 256
    store.images_at(np.arange(256))
    assert len(decoded) == 256


def test_the_sources_that_are_shown_most_fill_the_cache_first(lamps: Path, tmp_path: Path) -> None:
    long = repeated(lamps, tmp_path, PER_MIB - 100)
    store = read([long, lamps / "train"], first=[1, 0])
    cached = store.slots < len(store.cache)
    assert cached[len(store) - 256 :].all()
    assert np.count_nonzero(cached) == PER_MIB
    assert len(np.unique(store.slots)) == len(store)


def test_bad_rows_between_good_ones_do_not_shift_the_cache(lamps: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.tsv"
    names = [str(lamps / "val" / "0.png"), "none.png", str(lamps / "val" / "1.png")]
    path.write_text("".join(f"{name}\tred,left\n" for name in names), encoding="utf-8")
    store = read([path, lamps / "val"], skip_bad=True)
    images = store.images_at(np.arange(4))
    np.testing.assert_array_equal(images[:2], images[2:])


def test_a_picture_that_vanished_is_named(lamps: Path, tmp_path: Path) -> None:
    data = (lamps / "val" / "0.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data)
    (tmp_path / "labels.tsv").write_text("a.png\tred,left\n", encoding="utf-8")
    store = read([tmp_path], cache_mb=0)
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match=r"a.png: cannot be read: No such file"):
        store.images_at(np.zeros(1, np.int64))


MEASURE = """
import sys
from pathlib import Path
import numpy as np
from runtime.preprocess import InputSpec
from runtime.schema import load_schema
from train.crop_store import read_sources
spec = InputSpec(height=32, width=64)
schema = load_schema(sys.argv[2])
parts, store = read_sources([Path(sys.argv[1])], schema, spec, first=[0], cache_mb=8)
for start in range(0, len(store), 64):
    store.images_at(np.arange(start, min(start + 64, len(store))))
assert "torch" not in sys.modules
status = Path("/proc/self/status").read_text()
print(len(store), *(line.split()[1] for line in status.splitlines() if line[:6] == "VmHWM:"))
"""


def write_shard(path: Path, count: int) -> Path:
    picture = bytes(cv2.imencode(".png", np.full((16, 32, 3), 50, np.uint8))[1])
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(count):
            for extension, data in (("png", picture), ("txt", b"red,left")):
                member = tarfile.TarInfo(f"set/{number:08d}.{extension}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return path


def peak_mib(source: Path) -> float:
    """Highest memory of a process that reads all of ``source`` twice, MiB."""
    schema = write_schema(source.with_suffix(".json"))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(source), str(schema)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"},
    )
    return int(done.stdout.split()[1]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_memory_does_not_grow_with_the_data(tmp_path: Path) -> None:
    few = peak_mib(write_shard(tmp_path / "few.tar", 500))
    many = peak_mib(write_shard(tmp_path / "many.tar", 6_000))
    # 500 crops take 3 MiB of the cache, 6,000 fill its 8 MiB (all of them would take 35 MiB).
    # Beside it a crop may take 500 bytes; the allocator's own moods are about 1 MiB.
    assert many - few < 8 - 3 + 5_500 * 500 / 2**20 + 1
