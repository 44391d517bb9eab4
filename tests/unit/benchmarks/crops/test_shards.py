"""Tar shards: what is a sample, and that nothing is lost or read from a damaged file."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.crops.shards import expand_braces, shards_of
from benchmarks.labelled import label_columns, read_labelled
from runtime.errors import DataError
from runtime.preprocess import InputSpec
from runtime.schema import Head, HeadKind, Schema
from tests.unit.benchmarks.test_labelled import COLOURS, TAGS, failure

ONE = Schema(name="one", heads=(Head(name="use", kind=HeadKind.CHOICE, labels=("a", "b", "c")),))


def png(level: int) -> bytes:
    return bytes(cv2.imencode(".png", np.full((6, 8, 3), level, np.uint8))[1])


def write_tar(
    path: Path, *members: tuple[str, bytes | str], layout: int = tarfile.PAX_FORMAT
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=layout) as tar:
        for name, content in members:
            data = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def numbered(folder: Path, *counts: int) -> list[Path]:
    """Shards with ``counts`` samples each; the pixels are the sample's number."""
    number, shards = 0, []
    for shard, count in enumerate(counts):
        members: list[tuple[str, bytes | str]] = []
        for _ in range(count):
            colour = "black" if number % 2 else "blue"
            members += [(f"{number:04}.png", png(number)), (f"{number:04}.txt", f"{colour},jeans")]
            number += 1
        shards.append(write_tar(folder / f"shards-{shard:06}.tar", *members))
    return shards


# ---- reading ----------------------------------------------------------------------------------


def test_a_shard_a_folder_and_a_pattern_name_the_same_samples(tmp_path: Path) -> None:
    shards = numbered(tmp_path, 3, 0, 4)
    pattern = tmp_path / "shards-{000000..000002}.tar"
    for source in (tmp_path, pattern):
        crops = read_labelled(source, COLOURS)
        levels = [int(image[0, 0, 0]) for image in crops.images()]
        assert levels == list(range(7))
        assert crops.targets.choices["colour"].tolist() == [1, 0, 1, 0, 1, 0, 1]
        assert crops.paths[3] == shards[2] / "0003.png"
        assert crops.fitted(InputSpec(height=8, width=8)).mean((1, 2, 3)).tolist() == levels
    assert len(read_labelled(shards[2], COLOURS)) == 4


def test_a_list_beside_a_tar_file_is_what_the_folder_means(tmp_path: Path) -> None:
    numbered(tmp_path, 3)
    (tmp_path / "one.png").write_bytes(png(9))
    (tmp_path / "labels.tsv").write_text("one.png\tblue,shirt\n", encoding="utf-8")
    assert [path.name for path in read_labelled(tmp_path, COLOURS).paths] == ["one.png"]


def test_label_members(tmp_path: Path) -> None:
    source = write_tar(
        tmp_path / "a.tar",
        ("README.md", "notes"),
        ("__index__.json", "{}"),
        ("sub.dir/x1.input.png", "another picture of the sample"),
        ("sub.dir/x1.txt", "b\n"),
        ("sub.dir/x1.PNG", png(1)),
        ("x2.png", png(2)),
        ("x2.cls", "2"),
        ("x2.json", '{"use": "a"}'),
        ("x3.json", '{"use": "a", "width": 8, "note": {"by": null}}'),
        ("x3.webp", bytes(cv2.imencode(".webp", np.full((6, 8, 3), 3, np.uint8))[1])),
    )
    crops = read_labelled(source, ONE)
    assert [path.name for path in crops.paths] == ["x1.PNG", "x2.png", "x3.webp"]
    assert crops.targets.choices["use"].tolist() == [1, 2, 0]
    assert list(crops.texts) == ["b", "c", "a"]
    with pytest.raises(DataError, match=r"x2.png: the label is a number; write a schema file"):
        list(label_columns(source, ["use"]))


def test_json_labels(tmp_path: Path) -> None:
    labels = [
        {"tags": ["black", "jeans"]},
        {"tags": "blue|jeans"},
        {"tags": []},
        {"black": 1, "blue": False, "jeans": -1},
        {"tags=blue": True},
    ]
    members: list[tuple[str, bytes | str]] = []
    for number, label in enumerate(labels):
        members += [(f"{number}.png", png(number)), (f"{number}.json", json.dumps(label))]
    source = write_tar(tmp_path / "a.tar", *members)
    expected = [[1, 0, 1], [0, 1, 1], [0, 0, 0], [1, 0, -1], [-1, 1, -1]]
    assert read_labelled(source, TAGS).targets.labels["tags"].tolist() == expected
    columns = [text for _, text in label_columns(source, ["tags"])]
    assert columns == ["black|jeans", "blue|jeans", "-", "", "blue"]


def test_long_names_and_other_tar_formats(tmp_path: Path) -> None:
    name = "very/" * 40 + "deep/é1"
    for index, form in enumerate((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)):
        source = write_tar(
            tmp_path / f"{index}.tar", (f"{name}.txt", "a"), (f"{name}.png", png(9)), layout=form
        )
        crops = read_labelled(source, ONE)
        assert crops.paths[0] == source / f"{name}.png"
        assert crops.image(0)[0, 0, 0] == 9


def test_samples_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    source = write_tar(
        tmp_path / "a.tar",
        ("good.png", png(1)),
        ("good.txt", "a"),
        ("alone.png", png(1)),
        ("label.txt", "a"),
        ("two.png", png(1)),
        ("two.jpg", png(1)),
        ("two.cls", "1"),
        ("text.txt", b"\xff"),
        ("text.png", png(1)),
        ("bad.png", png(1)[:40]),
        ("bad.cls", "7"),
        ("list.png", png(1)),
        ("list.json", "[1]"),
        ("odd.png", png(1)),
        ("odd.json", "{"),
    )
    told = failure(source, ONE).splitlines()
    assert told[0].startswith(f"{source}: 7 of 8 rows cannot be used")
    assert [line.split(": ")[0].strip() for line in told[1:]] == [
        str(source / name)
        for name in ("alone.png", "label", "two.png", "text.png", "bad.png", "list.png", "odd.png")
    ]
    for line, part in zip(
        told[1:],
        [
            "no label; expected a member alone.txt or alone.cls or alone.json",
            "0 pictures",
            "2 pictures",
            "text.txt is not UTF-8",
            "has no label number 7",
            "expected a JSON object",
            "the labels are not JSON",
        ],
        strict=True,
    ):
        assert part in line
    assert len(read_labelled(source, ONE, skip_bad=True)) == 1


def test_the_same_key_in_two_shards_are_two_samples(tmp_path: Path) -> None:
    for number in (1, 2):
        write_tar(tmp_path / f"{number}.tar", ("x.png", png(number)), ("x.cls", "1"))
    assert [image[0, 0, 0] for image in read_labelled(tmp_path, ONE).images()] == [1, 2]


# ---- damaged shards ---------------------------------------------------------------------------


def test_a_shard_that_is_cut_anywhere_is_refused(tmp_path: Path) -> None:
    (source,) = numbered(tmp_path, 3)
    whole = source.read_bytes()
    # Up to the first empty block after the last sample: header and one block for each member.
    needed = 3 * 4 * 512 + 512
    for length in range(0, needed, 256):
        source.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cut short"):
            read_labelled(source, COLOURS)
    source.write_bytes(whole[:needed])
    assert len(read_labelled(source, COLOURS)) == 3


def test_a_damaged_header_is_no_end(tmp_path: Path) -> None:
    (source,) = numbered(tmp_path, 3)
    data = bytearray(source.read_bytes())
    data[4 * 512 + 100] ^= 1  # in the header of 0001.png
    source.write_bytes(data)
    with pytest.raises(DataError, match="damaged or cut short at byte 2048"):
        read_labelled(source, COLOURS)


def test_compressed_shards_say_what_to_do(tmp_path: Path) -> None:
    (source,) = numbered(tmp_path / "a", 3)
    packed = tmp_path / "b.tar"
    packed.write_bytes(gzip.compress(source.read_bytes()))
    with pytest.raises(DataError, match=r"b.tar: compressed \(gzip\); unpack it"):
        read_labelled(packed, COLOURS)
    for name in ("c.tar.gz", "c.tgz", "c.tar.zst"):
        with pytest.raises(DataError, match="compressed"):
            read_labelled(tmp_path / name, COLOURS)


def test_missing_and_changed_shards(tmp_path: Path) -> None:
    numbered(tmp_path, 2)
    with pytest.raises(DataError, match=r"shards-000001.tar: cannot be read: No such file"):
        read_labelled(tmp_path / "shards-{000000..000001}.tar", COLOURS)
    with pytest.raises(DataError, match=r"none.tar: cannot be read: No such file"):
        read_labelled(tmp_path / "none.tar", COLOURS)
    crops = read_labelled(tmp_path, COLOURS)
    (tmp_path / "shards-000000.tar").write_bytes(b"")
    with pytest.raises(DataError, match="became shorter since it was scanned"):
        crops.image(0)


# ---- other people's tools ---------------------------------------------------------------------


def test_shards_of_the_webdataset_library_are_read(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (10, 6, 8, 3), np.uint8)
    with webdataset.ShardWriter(str(tmp_path / "out-%06d.tar"), maxcount=4, verbose=0) as writer:
        for number, image in enumerate(pictures):
            label = {"json": {"colour": "blue", "id": number}} if number % 2 else {"txt": "black"}
            content = bytes(cv2.imencode(".png", image)[1])
            writer.write({"__key__": f"set/{number:06d}", "png": content, **label})
    crops = read_labelled(tmp_path / "out-{000000..000002}.tar", COLOURS)
    assert crops.targets.choices["colour"].tolist() == [0, 1] * 5
    np.testing.assert_array_equal(np.stack(list(crops.images())), pictures)
    assert len(shards_of(tmp_path) or ()) == 3


@given(
    st.from_regex(
        r"[a-c]{0,2}(\{0{0,2}[0-9]{1,2}\.\.0{0,1}[0-9]{1,2}\}|\{x,yz?\}|-){0,3}\.tar",
        fullmatch=True,
    )
)
def test_braces_stand_for_what_they_do_in_webdataset(pattern: str) -> None:
    braceexpand = pytest.importorskip("braceexpand")
    assert expand_braces(pattern) == list(braceexpand.braceexpand(pattern))


@pytest.mark.parametrize("label", ["x", "1.0"])
def test_a_number_that_is_none_is_a_bad_row(tmp_path: Path, label: str) -> None:
    shard = write_tar(
        tmp_path / "a.tar", ("1.png", png(1)), ("1.cls", label), ("2.png", png(2)), ("2.cls", "1")
    )
    with pytest.raises(DataError, match=r"a\.tar/1\.png: .* expected whole numbers"):
        read_labelled(shard, ONE)
    assert list(read_labelled(shard, ONE, skip_bad=True).texts) == ["b"]
