"""Labelled crops: what is read, and that every row that cannot be used is named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.labelled import (
    LIST_FILE,
    LabelledCrops,
    encode_reading,
    label_columns,
    list_file,
    read_image,
    read_labelled,
    split_labels,
)
from runtime.builtin_schemas import PROVINCES, cn_plate, us_plate
from runtime.errors import DataError
from runtime.preprocess import InputSpec
from runtime.schema import Format, Head, HeadKind, Reading, Schema
from tests.artifacts import SMALL_SCHEMA

CN = cn_plate()
PLATE = CN.readings[0]
COLOURS = Schema(
    name="clothes",
    heads=(
        Head(name="colour", kind=HeadKind.CHOICE, labels=("black", "blue")),
        Head(name="garment", kind=HeadKind.CHOICE, labels=("jeans", "shirt")),
    ),
)
TAGS = Schema(
    name="tags",
    heads=(Head(name="tags", kind=HeadKind.LABELS, labels=("black", "blue", "jeans")),),
)


TAGS_AND_SHIRTS = Schema(
    name="tags",
    heads=(Head(name="tags", kind=HeadKind.LABELS, labels=("black", "blue", "jeans", "shirt")),),
)
WITH_EXTRAS = Schema(
    name="extras",
    heads=SMALL_SCHEMA.heads,
    readings=(Reading(name="code", heads=("first", "second", "third"), blank="_"),),
)


def picture(path: Path, size: tuple[int, int] = (6, 8), level: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(level)
    noisy = np.clip(level + random.integers(-9, 9, (*size, 3)), 0, 255)
    assert cv2.imwrite(str(path), noisy.astype(np.uint8))
    return path


def write_list(folder: Path, *labels: str, name: str = "labels.tsv") -> Path:
    """One readable picture per label."""
    rows = []
    for index, label in enumerate(labels):
        picture(folder / f"{index}.png", level=40 + index)
        rows.append(f"{index}.png\t{label}\n")
    path = folder / name
    path.write_text("".join(rows), encoding="utf-8")
    return path


def spelled(schema: Schema, reading: Reading, choice: dict[str, int]) -> str:
    labels = [schema.head(name).labels[choice[name]] for name in reading.heads]
    return "".join(label for label in labels if label != reading.blank)


def failure(source: Path, schema: Schema) -> str:
    with pytest.raises(DataError) as caught:
        read_labelled(source, schema)
    return str(caught.value)


# ---- the three shapes -------------------------------------------------------------------------


def test_a_list_and_its_folder_are_the_same(tmp_path: Path) -> None:
    path = write_list(tmp_path, "black,jeans", "blue,shirt")
    for source in (path, tmp_path):
        crops = read_labelled(source, COLOURS)
        assert [p.name for p in crops.paths] == ["0.png", "1.png"]
        assert list(crops.texts) == ["black,jeans", "blue,shirt"]
        assert crops.targets.choices["colour"].tolist() == [0, 1]
        assert crops.targets.choices["garment"].tolist() == [0, 1]
        assert crops.targets.choices["colour"].dtype == np.int64


def test_a_list_of_another_name_takes_paths_from_its_own_folder(tmp_path: Path) -> None:
    picture(tmp_path / "deep" / "images" / "a.jpg")
    path = tmp_path / "deep" / "val.tsv"
    path.write_text("images/a.jpg\tblue,shirt\n", encoding="utf-8")
    assert list(read_labelled(path, COLOURS).paths) == [tmp_path / "deep" / "images" / "a.jpg"]


def test_a_tree_gives_labels_by_its_folders(tmp_path: Path) -> None:
    picture(tmp_path / "black_jeans" / "1.JPG")
    picture(tmp_path / "black_jeans" / "2.png")
    picture(tmp_path / "blue_shirt" / "1.webp")
    (tmp_path / "blue_shirt" / "notes.txt").write_text("no picture", encoding="utf-8")
    (tmp_path / "README.md").write_text("no folder", encoding="utf-8")
    crops = read_labelled(tmp_path, COLOURS)
    assert list(crops.texts) == ["black,jeans", "black,jeans", "blue,shirt"]
    assert read_labelled(tmp_path, TAGS_AND_SHIRTS).targets.labels["tags"].tolist() == [
        [1, 0, 1, 0],
        [1, 0, 1, 0],
        [0, 1, 0, 1],
    ]


def test_byte_order_marks_blank_lines_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    path = write_list(tmp_path, "black,jeans", "blue,shirt")
    text = "\ufeff" + path.read_text(encoding="utf-8").replace("\n", "\r\n\r\n  \r\n")
    path.write_bytes(text.encode())
    crops = read_labelled(path, COLOURS)
    assert crops.paths[0].name == "0.png"
    assert list(crops.texts) == ["black,jeans", "blue,shirt"]


def test_only_line_feeds_end_a_line(tmp_path: Path) -> None:
    # str.splitlines also splits at form feeds, U+0085 and U+2028, which file names may hold.
    name = "a\u2028b\x0c.png"
    picture(tmp_path / name)
    (tmp_path / "labels.tsv").write_text(f"{name}\tblue,shirt\nx.png\tblue\n", encoding="utf-8")
    assert "labels.tsv:2: " in failure(tmp_path, COLOURS)
    assert [where[-1] for where, _ in label_columns(tmp_path)] == ["1", "2"]


# ---- labels -----------------------------------------------------------------------------------


def test_missing_fields_are_masked(tmp_path: Path) -> None:
    texts = ["苏E8D2K3", "苏E8D2K3,blue", "苏E8D2K3,,double", ",yellow"]
    crops = read_labelled(write_list(tmp_path, *texts), CN)
    assert crops.targets.choices["colour"].tolist() == [-1, 0, -1, 1]
    assert crops.targets.choices["layers"].tolist() == [-1, -1, 1, -1]
    place = PROVINCES.index("苏")
    assert crops.targets.choices["char_1"].tolist() == [place, place, place, -1]
    first = {name: int(crops.targets.choices[name][0]) for name in PLATE.heads}
    assert spelled(CN, PLATE, first) == "苏E8D2K3"


def test_sets_of_labels(tmp_path: Path) -> None:
    texts = ["A0,blue,dirty|night", "A0,blue,-", "A0,blue", "A0,blue, night | tilted "]
    crops = read_labelled(write_list(tmp_path, *texts), WITH_EXTRAS)
    expected = [[1, 0, 1], [0, 0, 0], [-1, -1, -1], [0, 1, 1]]
    assert crops.targets.labels["extras"].tolist() == expected
    assert crops.targets.labels["extras"].dtype == np.int8


def test_a_labels_head_that_is_alone_splits_at_commas_too(tmp_path: Path) -> None:
    texts = ["black,jeans", "jeans|blue", "-", "black, jeans"]
    crops = read_labelled(write_list(tmp_path, *texts), TAGS)
    assert crops.targets.labels["tags"].tolist() == [[1, 0, 1], [0, 1, 1], [0, 0, 0], [1, 0, 1]]


def test_split_labels() -> None:
    assert split_labels("black|jeans") == ["black", "jeans"]
    assert split_labels(" black | jeans ") == ["black", "jeans"]
    assert split_labels("-") == []
    assert split_labels("black||jeans") == ["black", "", "jeans"]  # refused as an unknown label


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("red,jeans", "head 'colour' has no label 'red'; it has black blue"),
        ("black,jeans,x", "has 3 fields, the schema 'clothes' only 2: ['colour', 'garment']"),
        ("", "no label; expected path<TAB>label"),
        (",", "no label; expected path<TAB>label"),
        ("Black,jeans", "no label 'Black'"),
        ("black,jeans\textra", "no label 'jeans\\textra'"),
    ],
)
def test_labels_outside_the_schema(tmp_path: Path, label: str, message: str) -> None:
    source = write_list(tmp_path, "black,jeans", label)
    told = failure(source, COLOURS)
    assert f"{source}:2: " in told
    assert message in told
    assert "1 of 2 rows" in told


def test_unknown_labels_of_a_set(tmp_path: Path) -> None:
    told = failure(write_list(tmp_path, "black,red,green"), TAGS)
    assert "head 'tags' has no label ['red', 'green']; it has black blue jeans" in told
    assert "no label ['']" in failure(write_list(tmp_path, "black,"), TAGS)


# ---- readings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("苏E8D2K3", ("苏", "E", "8", "D", "2", "K", "3", "_")),
        ("粤BD12345", ("粤", "B", "D", "1", "2", "3", "4", "5")),
        ("粤B12345D", ("粤", "B", "1", "2", "3", "4", "5", "D")),
        ("WJ0123456", ("WJ", "0", "1", "2", "3", "4", "5", "6")),
        ("使123456", ("使", "1", "2", "3", "4", "5", "6", "_")),
        ("京A1234学", ("京", "A", "1", "2", "3", "4", "学", "_")),
        ("军V01234", ("军", "V", "0", "1", "2", "3", "4", "_")),
    ],
)
def test_chinese_plates_are_spelled(text: str, labels: Sequence[str]) -> None:
    found = encode_reading(CN, PLATE, text)
    assert list(found) == list(PLATE.heads)
    assert tuple(CN.head(name).labels[index] for name, index in found.items()) == labels


@pytest.mark.parametrize("text", ["", "苏E8D2K", "苏E8D2K34X", "苏I12345", "E8D2K3", "苏E8D2K3 "])
def test_texts_that_are_no_chinese_plate(text: str) -> None:
    with pytest.raises(DataError, match=r"tried civil, suffix, energy-small"):
        encode_reading(CN, PLATE, text)


def test_characters_that_look_alike_are_written_as_the_labels_have_them() -> None:
    schema = us_plate()
    reading = schema.readings[0]
    assert encode_reading(schema, reading, "FOI12") == encode_reading(schema, reading, "F0112")


def test_letters_that_no_label_has_are_named() -> None:
    with pytest.raises(DataError, match=r"'苏E8O2I3' .* armed-police\); no label has I O$"):
        encode_reading(CN, PLATE, "苏E8O2I3")
    with pytest.raises(DataError, match=r"energy-large, embassy, military, armed-police\)$"):
        encode_reading(CN, PLATE, "苏E8D2K")


@st.composite
def plates(draw: st.DrawFn, schema: Schema) -> tuple[str, tuple[str, ...]]:
    allowed = draw(st.sampled_from(schema.readings[0].formats))
    labels = tuple(draw(st.sampled_from(position)) for position in allowed.positions)
    return "".join(label for label in labels if label != schema.readings[0].blank), labels


@given(plates(CN))
def test_every_text_of_a_format_is_encoded_and_spelled_back(
    plate: tuple[str, tuple[str, ...]],
) -> None:
    text, labels = plate
    found = encode_reading(CN, PLATE, text)
    assert spelled(CN, PLATE, dict(found)) == text
    # Formats of Chinese plates do not overlap in their spelling, so the labels come back, too.
    assert tuple(CN.head(name).labels[index] for name, index in found.items()) == labels


@given(plates(us_plate()))
def test_every_us_plate_is_encoded_and_spelled_back(plate: tuple[str, tuple[str, ...]]) -> None:
    schema = us_plate()
    found = encode_reading(schema, schema.readings[0], plate[0])
    assert spelled(schema, schema.readings[0], dict(found)) == plate[0]


def test_the_longest_label_is_tried_first_and_given_up_where_the_rest_does_not_fit() -> None:
    heads = (
        Head(name="a", kind=HeadKind.CHOICE, labels=("W", "WJ", "_")),
        Head(name="b", kind=HeadKind.CHOICE, labels=("J", "1", "_")),
    )
    free = Schema(
        name="free", heads=heads, readings=(Reading(name="r", heads=("a", "b"), blank="_"),)
    )
    reading = free.readings[0]
    assert dict(encode_reading(free, reading, "WJ")) == {"a": 1, "b": 2}
    assert dict(encode_reading(free, reading, "WJ1")) == {"a": 1, "b": 1}
    assert dict(encode_reading(free, reading, "W1")) == {"a": 0, "b": 1}
    pairs = (Format("pairs", (("W", "WJ"), ("J",))),)
    strict = Reading(name="r", heads=("a", "b"), blank="_", formats=pairs)
    schema = Schema(name="strict", heads=heads, readings=(strict,))
    assert dict(encode_reading(schema, strict, "WJ")) == {"a": 0, "b": 0}


# ---- pictures ---------------------------------------------------------------------------------


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_what_phones_write_behind_a_picture_is_no_cut(tmp_path: Path, suffix: str) -> None:
    path = picture(tmp_path / f"a{suffix}", (40, 60))
    whole = read_image(path)
    trailer = b"\0\0\0 ftypmp42" + bytes(3000)
    path.write_bytes(path.read_bytes() + trailer)
    np.testing.assert_array_equal(read_image(path), whole)


def test_the_end_of_a_thumbnail_is_not_that_of_the_picture(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.jpg", (200, 300))
    data = path.read_bytes()
    thumbnail = b"\xff\xd8 small \xff\xd9"
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    path.write_bytes(data[:2] + segment + data[2:-2] + bytes(2000))
    with pytest.raises(DataError, match="cut short"):
        read_image(path)
    path.write_bytes(data[:2] + segment + data[2:] + bytes(2000))
    assert read_image(path).shape == (200, 300, 3)


def test_a_picture_of_12_bits_in_16_is_not_read_as_black(tmp_path: Path) -> None:
    path, grey = tmp_path / "a.png", np.arange(4096, dtype=np.uint16).reshape(64, 64)
    cv2.imwrite(str(path), grey)
    with pytest.raises(DataError, match="multiply them by 16"):
        read_image(path)
    cv2.imwrite(str(path), grey * 16)
    assert read_image(path).max() > 250
    cv2.imwrite(str(path), np.zeros((8, 8), np.uint8))  # black, and meant to be
    assert read_image(path).max() == 0


def test_a_path_with_a_nul_byte_is_a_bad_row(tmp_path: Path) -> None:
    path = write_list(tmp_path, "black,jeans", "blue,shirt")
    path.write_text(path.read_text().replace("1.png", "1\0.png"))
    with pytest.raises(DataError, match=r"labels.tsv:2: .*embedded null byte"):
        read_labelled(path, COLOURS)
    assert len(read_labelled(path, COLOURS, skip_bad=True)) == 1


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
@pytest.mark.parametrize("share", [0.4, 0.9])
def test_a_picture_that_is_cut_short_is_no_picture(
    tmp_path: Path, suffix: str, share: float
) -> None:
    path = picture(tmp_path / f"a{suffix}", (40, 60))
    assert read_image(path).shape == (40, 60, 3)
    with pytest.raises(DataError, match=r"cut short|not a readable picture"):
        read_image(cut(path, share))


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xd8\xff\xd9", b"\x89PNG\r\n\x1a\nIEND"])
def test_what_is_no_picture(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"not a readable picture \({len(content)} bytes\)"):
        read_image(path)


def test_a_missing_picture_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_image(tmp_path / "nothing.jpg")
    with pytest.raises(DataError, match="directory"):
        read_image(tmp_path)


def test_grey_and_transparent_pictures_become_bgr(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((4, 5), 7, np.uint8))
    cv2.imwrite(str(tmp_path / "alpha.png"), np.full((4, 5, 4), 7, np.uint8))
    assert read_image(tmp_path / "grey.png").shape == (4, 5, 3)
    assert read_image(tmp_path / "alpha.png").shape == (4, 5, 3)


def test_a_picture_of_one_pixel_is_a_bad_row(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "dot.png"), np.full((1, 1, 3), 7, np.uint8))
    (tmp_path / "labels.tsv").write_text("dot.png\tblue,shirt\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"labels.tsv:1: .*dot.png: expected at least 4 px"):
        read_labelled(tmp_path, COLOURS)


# ---- bad rows ---------------------------------------------------------------------------------


@pytest.fixture
def spoilt(tmp_path: Path) -> Path:
    """A list of six rows; only the first and the last can be used."""
    cut(picture(tmp_path / "cut.jpg", (40, 60)), 0.5)
    (tmp_path / "text.png").write_text("hello", encoding="utf-8")
    rows = [
        f"{picture(tmp_path / 'good.png').name}\tblack,jeans",
        "cut.jpg\tblack,jeans",
        "text.png\tred,jeans",
        "gone.png\tblue,shirt",
        "good.png",
        "good.png\tblue,shirt",
    ]
    path = tmp_path / "list.tsv"
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def test_all_bad_rows_are_named_in_one_error(spoilt: Path) -> None:
    told = failure(spoilt, COLOURS)
    assert told.startswith(f"{spoilt}: 4 of 6 rows cannot be used; mend them or pass --skip-bad")
    lines = told.splitlines()[1:]
    assert [line.strip().split(": ")[0] for line in lines] == [
        f"{spoilt}:{n}" for n in (2, 3, 4, 5)
    ]
    assert "cut short" in lines[0]
    assert "not a readable picture" in lines[1]
    assert "no label 'red'" in lines[1]  # both faults of one row
    assert "No such file" in lines[2]
    assert "expected path<TAB>label" in lines[3]


def test_skip_bad_keeps_the_rest_and_tells_what_was_left_out(spoilt: Path) -> None:
    crops = read_labelled(spoilt, COLOURS, skip_bad=True)
    assert list(crops.texts) == ["black,jeans", "blue,shirt"]
    assert [row.partition(": ")[0] for row in crops.bad_rows] == [
        f"{spoilt}:{n}" for n in (2, 3, 4, 5)
    ]


def test_nothing_good_is_an_error_even_with_skip_bad(tmp_path: Path) -> None:
    source = write_list(tmp_path, "red,jeans", "green,jeans")
    with pytest.raises(DataError, match="2 of 2 rows cannot be used"):
        read_labelled(source, COLOURS, skip_bad=True)


def test_a_hundred_bad_rows_are_shown_and_the_rest_counted(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "labels.tsv").write_text("a.png\tred\n" * 130, encoding="utf-8")
    told = failure(tmp_path, COLOURS)
    assert told.count("no label 'red'") == 100
    assert told.endswith("... and 30 more")


def test_sources_without_samples(tmp_path: Path) -> None:
    empty = tmp_path / "empty.tsv"
    empty.write_text("\n \n", encoding="utf-8")
    (tmp_path / "tree" / "black_jeans").mkdir(parents=True)
    for source in (empty, tmp_path / "tree"):
        assert failure(source, COLOURS) == (
            f"{source}: no samples; expected lines of path<TAB>label"
        )


def test_sources_that_cannot_be_read(tmp_path: Path) -> None:
    binary = picture(tmp_path / "a.jpg")
    for source in (tmp_path / "nowhere", binary):
        told = failure(source, COLOURS)
        assert str(source) in told
        assert "expected a UTF-8 list of path<TAB>label, a table with a header" in told


# ---- what comes out ---------------------------------------------------------------------------


def test_pictures_keep_their_order_and_are_brought_to_size(tmp_path: Path) -> None:
    crops = read_labelled(write_list(tmp_path, *["black,jeans"] * 20), COLOURS)
    spec = InputSpec(height=10, width=12)
    fitted = crops.fitted(spec)
    assert fitted.shape == (20, 10, 12, 3)
    assert fitted.dtype == np.uint8
    levels = fitted.mean((1, 2, 3))
    assert np.allclose(levels, 40 + np.arange(20), atol=2.5)
    assert [image.shape for image in crops.images()] == [(6, 8, 3)] * 20


def test_take_keeps_paths_texts_and_targets_together(tmp_path: Path) -> None:
    crops = read_labelled(write_list(tmp_path, "black,jeans", "blue,shirt", "blue,jeans"), COLOURS)
    part = crops.take(np.array([2, 0]))
    assert isinstance(part, LabelledCrops)
    assert [path.name for path in part.paths] == ["2.png", "0.png"]
    assert list(part.texts) == ["blue,jeans", "black,jeans"]
    assert part.targets.choices["colour"].tolist() == [1, 0]


def test_the_digest_follows_the_pictures_and_not_their_folder(tmp_path: Path) -> None:
    labels = ("black,jeans", "blue,shirt")
    first, again, other = (write_list(tmp_path / name, *labels) for name in "abc")
    cv2.imwrite(str(tmp_path / "c" / "1.png"), np.full((8, 8, 3), 9, np.uint8))
    digests = [read_labelled(path, COLOURS).digest for path in (first, again, other)]
    assert digests[0] == digests[1] != digests[2]
    (tmp_path / "a").rename(tmp_path / "moved")
    assert read_labelled(tmp_path / "moved" / first.name, COLOURS).digest == digests[0]


def test_the_digest_of_a_picture_that_is_left_out_does_not_count(tmp_path: Path) -> None:
    whole = write_list(tmp_path / "a", "black,jeans", "blue,shirt", "blue,jeans")
    broken = write_list(tmp_path / "b", "black,jeans", "blue,shirt", "blue,jeans")
    (tmp_path / "b" / "1.png").write_bytes(b"no picture")
    left = read_labelled(broken, COLOURS, skip_bad=True)
    assert left.digest == read_labelled(whole, COLOURS).take(np.array([0, 2])).digest


def test_the_digest_follows_names_labels_and_order(tmp_path: Path) -> None:
    first = write_list(tmp_path / "a", "black,jeans", "blue,shirt")
    again = write_list(tmp_path / "b", "black,jeans", "blue,shirt")
    other = write_list(tmp_path / "c", "blue,jeans", "blue,shirt")
    digests = [read_labelled(path, COLOURS).digest for path in (first, again, other)]
    assert digests[0] == digests[1] != digests[2]
    crops = read_labelled(first, COLOURS)
    assert crops.take(np.array([1, 0])).digest != crops.digest


def test_the_file_of_a_source(tmp_path: Path) -> None:
    source = write_list(tmp_path / "set", "black,jeans")
    assert list_file(source) == source
    (tmp_path / "folder").mkdir()
    inside = tmp_path / "folder" / LIST_FILE
    inside.touch()
    assert list_file(inside.parent) == inside
    assert list_file(tmp_path) is None  # a tree
    assert list_file(tmp_path / "shards-{0..3}.tar") is None
