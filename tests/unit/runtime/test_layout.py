from __future__ import annotations

from runtime.layout import layout_of
from runtime.schema import Format, Head, HeadKind, Reading, Schema

SCHEMA = Schema(
    name="s",
    heads=(
        Head(name="free", kind=HeadKind.CHOICE, labels=("x", "y")),
        Head(name="some", kind=HeadKind.LABELS, labels=("p", "q", "r")),
        Head(name="one", kind=HeadKind.CHOICE, labels=("A", "B", "C")),
        Head(name="two", kind=HeadKind.CHOICE, labels=("0", "_")),
    ),
    readings=(
        Reading(
            name="CODE",
            heads=("two", "one"),
            blank="_",
            formats=(
                Format("short", (("_",), ("A", "B"))),
                Format("long", (("0",), ("B", "C"))),
                Format("any", (("0", "_"), ("B",))),
            ),
        ),
    ),
)


def test_places_of_scores() -> None:
    layout = layout_of(SCHEMA)
    assert layout.sizes == (2, 3, 3, 2)
    assert layout.columns == {"free": 0, "one": 1, "two": 2}
    assert layout.places["one"] == slice(5, 8)
    assert layout.labels == {"some": slice(2, 5)}
    assert layout.padded.tolist() == [[0, 1, 10], [5, 6, 7], [8, 9, 10]]  # 10: the -inf at the end


def test_formats_that_allow_a_label() -> None:
    (reading,) = layout_of(SCHEMA).readings
    assert reading.places == (2, 1)
    assert reading.spelled == (("0", ""), ("A", "B", "C"))
    # Bits from the first format: "0" is allowed by long and any, "_" by short and any, ...
    assert reading.fitting == ((0b110, 0b101), (0b001, 0b111, 0b010))


def test_a_reading_without_formats_fits_always() -> None:
    reading = Reading(name="CODE", heads=("one",), blank=None, formats=())
    schema = Schema(name="s", heads=SCHEMA.heads, readings=(reading,))
    assert layout_of(schema).readings[0].fitting == ()
