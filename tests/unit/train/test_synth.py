"""The renderer: determinism, texts that fit the schemas, fonts, and the folder rules."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.builtin_schemas import BUILTIN
from runtime.errors import ConfigError
from runtime.schema import Schema
from train.synth import SCHEMAS, FontSet, find_fonts, render
from train.synth import fonts as fonts_module
from train.synth.cli import main
from train.synth.strokes import GLYPHS, STROKE_WIDTHS_MM, stroke_mask, variants
from train.synth.texts import CN_KINDS, PlateText

ROOT = Path(__file__).parents[3]
NO_FONTS = FontSet(cjk=(), latin=())
HAS_CJK = bool(fonts_module._existing((fonts_module.FONT_ROOT,), fonts_module.CJK_CANDIDATES))
needs_cjk_font = pytest.mark.skipif(
    not HAS_CJK, reason="no CJK font: apt-get install fonts-noto-cjk"
)


def fits(schema: Schema, symbols: tuple[str, ...]) -> bool:
    """Say whether the symbols, padded with blanks, follow one of the reading's formats."""
    reading = schema.readings[0]
    padded = (*symbols, *[reading.blank] * (len(reading.heads) - len(symbols)))
    return any(
        all(symbol in allowed for symbol, allowed in zip(padded, form.positions, strict=True))
        for form in reading.formats
    )


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def no_fonts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "no-fonts"
    empty.mkdir()
    monkeypatch.setattr(fonts_module, "FONT_ROOT", empty)


@given(seed=st.integers(0, 2**63 - 1), name=st.sampled_from(sorted(SCHEMAS)))
@settings(max_examples=400, deadline=None)
def test_every_text_fits_a_format_of_its_schema(seed: int, name: str) -> None:
    plate = SCHEMAS[name](np.random.default_rng(seed))
    assert fits(BUILTIN[name](), plate.symbols), plate
    assert plate.text == "".join(plate.symbols)


def test_labels_are_those_of_the_schema_and_all_kinds_occur() -> None:
    schema = BUILTIN["cn-plate"]()
    plates = [SCHEMAS["cn-plate"](np.random.default_rng(seed)) for seed in range(3000)]
    assert {p.colour for p in plates} == set(schema.head("colour").labels)
    assert {p.layers for p in plates} == set(schema.head("layers").labels)
    assert {p.kind for p in plates} == set(CN_KINDS)
    firsts = Counter(p.symbols[0] for p in plates)
    assert set(firsts) == set(schema.heads[0].labels)
    assert min(firsts.values()) >= 10


def test_every_label_of_the_latin_alphabets_has_a_glyph() -> None:
    for name in ("us-plate", "latin-plate", "cn-plate"):
        for head in BUILTIN[name]().heads:
            for label in head.labels:
                if label.isascii() and label.isalnum() and len(label) == 1:
                    assert all(shape in GLYPHS for shape in variants(label))


@pytest.mark.parametrize("name", sorted(GLYPHS))
def test_glyphs_fill_the_height_of_their_cell_and_are_distinct(name: str) -> None:
    for width in STROKE_WIDTHS_MM:
        mask = stroke_mask(name, width)
        rows = np.flatnonzero(mask.max(axis=1) > 127)
        assert mask.shape == (180, 90)
        assert rows[0] <= 3
        assert rows[-1] >= 176
        others = [stroke_mask(other, width) for other in GLYPHS if other[0] != name[0]]
        closest = min(np.mean(np.abs(mask.astype(float) - other)) for other in others)
        # A bare 1 and a bare I are one shape on real plates, too.
        assert closest > 3 or name in "1I"


@pytest.mark.parametrize(
    "name", ["us-plate", "latin-plate", pytest.param("cn-plate", marks=needs_cjk_font)]
)
def test_a_sample_depends_on_its_seed_and_index_only(name: str) -> None:
    first = render(name, 7, 3)
    render(name, 8, 3)
    again = render(name, 7, 3)
    assert np.array_equal(first[0], again[0])
    assert first[1:] == again[1:]
    assert render(name, 7, 4)[1:] != first[1:]


@needs_cjk_font
def test_images_are_crops_of_plausible_size() -> None:
    for index in range(60):
        image, _, _, layers = render("cn-plate", index, 0)
        height, width = image.shape[:2]
        assert image.dtype == np.uint8
        assert image.shape[2] == 3
        assert 64 <= width <= 190
        assert (1.5 if layers == "double" else 2.5) < width / height < 5
        assert image.std() > 2


@pytest.mark.parametrize("name", ["us-plate", "latin-plate"])
@pytest.mark.usefixtures("no_fonts")
def test_latin_schemas_need_no_font(name: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main([name, "-n", "5", "-o", str(out), "--workers", "1"]) == 0
    rows = (out / "labels.tsv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 5
    for row in rows:
        path, text = row.split("\t")
        assert cv2.imread(str(out / path)) is not None
        assert "," not in text
        assert fits(BUILTIN[name](), tuple(text))


@pytest.mark.usefixtures("no_fonts")
def test_a_missing_cjk_font_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cn-plate", "-n", "1", "-o", str(tmp_path / "out")]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: no font with Chinese characters")
    assert "NotoSansCJK-Regular.ttc" in message
    assert "fonts-noto-cjk" in message
    assert "--font" in message
    assert not (tmp_path / "out").exists()


def test_a_font_that_cannot_serve_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.ttf"
    with pytest.raises(ConfigError, match="no such file"):
        find_fonts(needs_cjk=True, font=broken)
    broken.write_bytes(b"not a font")
    with pytest.raises(ConfigError, match="not a font"):
        find_fonts(needs_cjk=True, font=broken)


def test_a_font_without_chinese_is_refused() -> None:
    font = fonts_module.FONT_ROOT / fonts_module.LATIN_CANDIDATES[0]
    if not font.is_file():
        pytest.skip("no DejaVu font: apt-get install fonts-dejavu-extra")
    with pytest.raises(ConfigError, match="no Chinese"):
        find_fonts(needs_cjk=True, font=font)


def test_chinese_text_without_a_font_is_an_error_not_a_blank() -> None:
    with pytest.raises(ConfigError, match="CJK"):
        render("cn-plate", 0, 0, fonts=NO_FONTS)


def test_an_unknown_schema_is_refused() -> None:
    with pytest.raises(ConfigError, match="known: cn-plate"):
        render("eu-plate", 0, 0)


@needs_cjk_font
def test_labels_parse_and_name_existing_images(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["cn-plate", "-n", "30", "-o", str(out), "--workers", "1"]) == 0
    rows = [r.split("\t") for r in (out / "labels.tsv").read_text("utf-8").splitlines()]
    assert [r[0] for r in rows] == [f"images/000/{i:06d}.jpg" for i in range(30)]
    for index, (path, label) in enumerate(rows):
        image, *expected = render("cn-plate", index, 0)
        assert label.split(",") == expected
        stored = cv2.imread(str(out / path))
        assert stored is not None
        assert stored.shape == image.shape
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_bytes_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    for workers in ("1", "2"):
        arguments = ["latin-plate", "-n", "420", "-o", str(tmp_path / workers)]
        assert main([*arguments, "--workers", workers]) == 0
    assert tree(tmp_path / "1") == tree(tmp_path / "2")


@pytest.mark.usefixtures("no_fonts")
def test_rules_for_an_existing_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    base = ["us-plate", "-o", str(out), "--workers", "1"]
    assert main([*base, "-n", "3"]) == 0, "an empty folder is used"
    before = tree(out)
    capsys.readouterr()
    assert main([*base, "-n", "3"]) == 0
    assert "already there" in capsys.readouterr().out
    assert main([*base, "-n", "4"]) == 1
    assert "differs in n" in capsys.readouterr().err
    assert main([*base, "-n", "3", "--seed", "1"]) == 1
    assert "differs in seed" in capsys.readouterr().err
    assert tree(out) == before
    (out / "synth.json").unlink()
    assert main([*base, "-n", "3"]) == 1
    assert "not empty" in capsys.readouterr().err
    (out / "synth.json").write_text("[", encoding="utf-8")
    assert main([*base, "-n", "3"]) == 1
    (out / "synth.json").write_text("[]", encoding="utf-8")
    assert main([*base, "-n", "3"]) == 1
    assert main(["us-plate", "-n", "3", "-o", str(out / "labels.tsv")]) == 1


@pytest.mark.usefixtures("no_fonts")
def test_synth_json_states_the_configuration(tmp_path: Path) -> None:
    assert main(["us-plate", "-n", "2", "--seed", "5", "-o", str(tmp_path / "o")]) == 0
    content = json.loads((tmp_path / "o" / "synth.json").read_text(encoding="utf-8"))
    assert (content["schema"], content["n"], content["seed"]) == ("us-plate", 2, 5)
    assert content["fonts"] == {"cjk": [], "latin": [], "words": []}
    assert content["generator_version"] >= 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["us-plate", "-n", "0", "-o", "x"], 1),
        (["us-plate", "--seed", "-1", "-o", "x"], 1),
        (["us-plate", "--workers", "0", "-o", "x"], 1),
        (["eu-plate", "-o", "x"], 2),
        (["us-plate"], 2),
        (["--help"], 0),
    ],
)
def test_exit_codes(
    arguments: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code
    assert not list(tmp_path.iterdir())


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "train.synth", "latin-plate", "-n", "20000"]
    process = subprocess.Popen(
        [*command, "-o", str(tmp_path / "out"), "--workers", "2"],
        cwd=ROOT,
        start_new_session=True,
        stderr=subprocess.PIPE,
        # A background job of a script inherits an ignored Ctrl-C; a terminal's does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("out.partial-*/images/*/*.jpg")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the whole group
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert stderr.startswith(b"error: interrupted")
    assert not list(tmp_path.iterdir())


def test_plate_text_is_immutable() -> None:
    plate = PlateText(symbols=("A",), kind="latin-plate", colour="", layers="")
    with pytest.raises(dataclasses.FrozenInstanceError):
        plate.kind = "x"  # type: ignore[misc]
