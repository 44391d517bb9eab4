"""US and other Latin plates: what belongs to the label, where it stands, how it is drawn."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.synth import SCHEMAS, FontSet, render
from train.synth.emblems import _BACKDROPS, _EMBLEMS, draw_backdrop
from train.synth.eu_layout import arrange_eu
from train.synth.layout import Cell
from train.synth.lettering import lay_ink, pick_dies, print_words
from train.synth.strokes import GLYPHS
from train.synth.texts import PlateText
from train.synth.us_colours import lightness, pick_palette
from train.synth.us_layout import arrange_us

NO_FONTS = FontSet(cjk=(), latin=())
SEEDS = st.integers(0, 2**63 - 1)


def sample(name: str, seed: int) -> tuple[PlateText, np.random.Generator]:
    rng = np.random.default_rng(seed)
    return SCHEMAS[name](rng), rng


def overlap(first: Cell, second: Cell) -> float:
    """Area that two cells share, in square millimetres."""
    wide = min(first.x_mm + first.width_mm, second.x_mm + second.width_mm) - max(
        first.x_mm, second.x_mm
    )
    tall = min(first.y_mm + first.height_mm, second.y_mm + second.height_mm) - max(
        first.y_mm, second.y_mm
    )
    return max(0.0, wide) * max(0.0, tall)


@given(seed=SEEDS)
@settings(max_examples=200, deadline=None)
def test_us_labels_are_the_drawn_text_with_i_as_1_and_o_as_0(seed: int) -> None:
    plate, _ = sample("us-plate", seed)
    assert plate.text == "".join(plate.glyphs).replace("I", "1").replace("O", "0")
    assert sum(plate.groups) == len(plate.glyphs) == len(plate.symbols)


def test_us_texts_have_all_lengths_and_both_readings_of_a_ring_and_a_bar() -> None:
    plates = [sample("us-plate", seed)[0] for seed in range(2000)]
    lengths = Counter(len(plate.symbols) for plate in plates)
    assert set(lengths) == {4, 5, 6, 7, 8}
    assert min(lengths.values()) > 0.05 * len(plates)
    drawn = Counter(glyph for plate in plates for glyph in plate.glyphs)
    assert min(drawn[glyph] for glyph in "IO01") > 50


@given(seed=SEEDS)
@settings(max_examples=200, deadline=None)
def test_the_label_is_the_row_of_large_characters_and_nothing_beside_it(seed: int) -> None:
    plate, rng = sample("us-plate", seed)
    design = arrange_us(plate, rng)
    cells = design.plate.cells
    assert tuple(cell.symbol for cell in cells) == plate.glyphs
    for left, right in pairwise(cells):
        assert left.x_mm + left.width_mm < right.x_mm
    for cell in (*cells, *design.beside):
        assert 0 < cell.x_mm < cell.x_mm + cell.width_mm < design.plate.width_mm
        assert 0 < cell.y_mm < cell.y_mm + cell.height_mm < design.plate.height_mm
    for small in design.beside:
        assert small.height_mm < 0.6 * cells[0].height_mm
        assert all(overlap(small, cell) == 0 for cell in cells)


def test_us_plates_show_every_kind_of_company() -> None:
    designs = [arrange_us(*sample("us-plate", seed)) for seed in range(400)]
    for kind in (
        [d.beside for d in designs],
        [d.emblem_mm for d in designs],
        [d.plate.dash_mm for d in designs],
        [d.plate.dots_mm for d in designs],
    ):
        assert 10 < sum(bool(thing) for thing in kind) < 300


@given(seed=SEEDS)
@settings(max_examples=200, deadline=None)
def test_european_characters_stand_on_the_plate_in_reading_order(seed: int) -> None:
    plate, rng = sample("latin-plate", seed)
    layout = arrange_eu(plate, rng)
    assert tuple(cell.symbol for cell in layout.cells) == plate.glyphs
    for cell in layout.cells:
        assert 0 < cell.x_mm < cell.x_mm + cell.width_mm < layout.width_mm
        assert 0 < cell.y_mm < cell.y_mm + cell.height_mm < layout.height_mm
    for first, second in pairwise(layout.cells):
        assert overlap(first, second) == 0
        assert second.y_mm > first.y_mm or second.x_mm > first.x_mm


@pytest.mark.parametrize("us", [True, False])
def test_dies_have_glyphs_and_keep_labels_apart(us: bool) -> None:
    for seed in range(200):
        dies = pick_dies(NO_FONTS, np.random.default_rng(seed), us=us)
        drawn = {c: dies.shapes.get(c, c) for c in "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
        assert set(drawn.values()) <= set(GLYPHS)
        if not us:
            assert len(set(drawn.values())) == len(drawn)


@given(seed=SEEDS)
@settings(max_examples=200, deadline=None)
def test_ink_differs_from_the_ground(seed: int) -> None:
    palette = pick_palette(np.random.default_rng(seed))
    assert abs(lightness(palette.ground) - lightness(palette.ink)) >= 80


@pytest.mark.parametrize("place", range(len(_EMBLEMS)))
def test_an_emblem_stays_near_its_place(place: int) -> None:
    changed = 0
    for seed in range(20):
        image = np.full((120, 240, 3), 200, np.uint8)
        _EMBLEMS[place](image, 60.0, 60.0, 20.0, (30, 60, 90), np.random.default_rng(seed))
        assert np.all(image[:, 110:] == 200), "within 2.5 radii"
        changed += bool(np.any(image != 200))
    assert changed == 20


def test_a_backdrop_is_fainter_than_ink() -> None:
    seen = 0.0
    for seed in range(40 * len(_BACKDROPS)):
        image = np.full((60, 120, 3), 220, np.uint8)
        draw_backdrop(image, (220, 220, 220), np.random.default_rng(seed))
        change = np.abs(image.astype(int) - 220).max()
        seen = max(seen, change)
        assert change <= 0.55 * 220 + 1
    assert seen > 30


def test_ink_covers_what_the_mask_says_and_stays_on_the_image() -> None:
    image = np.full((10, 12, 3), 100, np.uint8)
    mask = np.zeros((4, 4), np.uint8)
    mask[1:3, 1:3] = 255
    lay_ink(image, mask, (0, 50, 200), 5, 3)
    assert np.all(image[4:6, 6:8] == (0, 50, 200))
    image[4:6, 6:8] = 100
    assert np.all(image == 100)
    lay_ink(image, mask, (0, 50, 200), 10, -2, 0.5)  # only its lower left corner lies inside
    assert np.all(image[0, 11] == (50, 75, 150))
    assert np.count_nonzero(np.any(image != 100, axis=2)) == 1
    lay_ink(image, mask, (0, 0, 0), 40, 40)
    assert image[0, 0, 0] == 100


def test_words_are_squeezed_to_their_room() -> None:
    image = np.full((60, 200, 3), 250, np.uint8)
    box = print_words(
        image, "TAXATION WITHOUT REPRESENTATION", cv2.FONT_HERSHEY_SIMPLEX, (0, 0, 0),
        centre=(100, 30), height=20, longest=90,
    )  # fmt: skip
    assert box == (55, 20, 90, 20)
    outside = image.copy()
    outside[20:40, 55:145] = 250
    assert np.all(outside == 250)
    assert image[20:40, 55:145].min() < 120


@pytest.mark.parametrize(("name", "widest"), [("us-plate", 3.3), ("latin-plate", 9.0)])
def test_images_are_crops_of_plausible_size(name: str, widest: float) -> None:
    for index in range(80):
        image, text, colour, layers = render(name, index, 0)
        height, width = image.shape[:2]
        assert image.dtype == np.uint8
        assert image.shape[2] == 3
        assert 64 <= width <= 190
        assert 1.0 < width / height < widest
        assert image.std() > 2
        assert text == SCHEMAS[name](np.random.default_rng((0, index))).text
        assert (colour, layers) == ("", "")


def test_most_us_plates_are_whole_and_about_twice_as_wide_as_high() -> None:
    sizes = [render("us-plate", index, 1)[0].shape[:2] for index in range(150)]
    aspects = np.array([width / height for height, width in sizes])
    assert 1.85 < np.median(aspects) < 2.2
    assert np.mean((aspects > 1.6) & (aspects < 2.6)) > 0.8
