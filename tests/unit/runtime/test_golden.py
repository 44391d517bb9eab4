from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from runtime.arrays import Images, Logits
from runtime.errors import ArtifactError, EngineError
from runtime.golden import check_golden, load_golden, write_golden
from runtime.manifest import GOLDEN_FILE, Manifest
from tests.artifacts import SMALL_INPUT, SMALL_SCHEMA, TinyNetwork, random_images, write_artifact


class FakeSession:
    """Answers as told, and counts the calls."""

    def __init__(self, answer: Callable[[Images], Logits]) -> None:
        self._answer = answer
        self.batches: list[int] = []

    def run(self, images: Images) -> Logits:
        self.batches.append(len(images))
        return self._answer(images)

    def close(self) -> None: ...

    @property
    def description(self) -> Mapping[str, str]:
        return {"engine": "fake"}


@pytest.fixture
def artifact(tmp_path: Path, network: TinyNetwork) -> tuple[Path, Manifest]:
    folder = tmp_path / "artifact"
    return folder, write_artifact(folder, network, golden=5)


def test_round_trip(tmp_path: Path, network: TinyNetwork) -> None:
    images = random_images(4)
    logits = network.logits(images)
    write_golden(tmp_path / GOLDEN_FILE, images, logits)
    golden = load_golden(tmp_path / GOLDEN_FILE, SMALL_SCHEMA, SMALL_INPUT)
    assert (golden.images == images).all()
    assert list(golden.logits) == [head.name for head in SMALL_SCHEMA.heads]
    assert all((golden.logits[name] == logits[name]).all() for name in logits)


def good() -> dict[str, npt.NDArray[Any]]:
    images = random_images(2)
    scores = TinyNetwork().logits(images)
    return {"images": images, **{f"scores/{name}": s for name, s in scores.items()}}


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.pop("images"),
        lambda a: a.pop("scores/colour"),
        lambda a: a.update(extra=np.zeros(1)),
        lambda a: a.update(images=a["images"].astype(np.float32)),
        lambda a: a.update(images=a["images"][:, :8]),
        lambda a: a.update(images=a["images"][:1]),
        lambda a: a.update(images=np.uint8(3)),
        lambda a: a.update({"scores/colour": a["scores/colour"].astype(np.float64)}),
        lambda a: a.update({"scores/colour": a["scores/extras"]}),
        lambda a: a.update({name: array[:0] for name, array in a.items()}),
        lambda a: a.update({"scores/colour": np.asarray([[object()] * 2] * 2)}),
    ],
)
def test_load_refuses_other_arrays(tmp_path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    arrays = good()
    change(arrays)
    np.savez_compressed(tmp_path / "g.npz", allow_pickle=True, **arrays)
    with pytest.raises(ArtifactError):
        load_golden(tmp_path / "g.npz", SMALL_SCHEMA, SMALL_INPUT)


@pytest.mark.parametrize("where", ["archive", "array header"])
def test_load_survives_changed_bytes(tmp_path: Path, where: str) -> None:
    path = tmp_path / "g.npz"
    np.savez_compressed(path, allow_pickle=False, **good())
    random = np.random.default_rng(0)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    content = path.read_bytes()
    refused = 0
    for _ in range(300):
        if where == "archive":
            path.write_bytes(changed(content, random, len(content)))
        else:
            with zipfile.ZipFile(path, "w") as archive:
                for name, array in {
                    **members,
                    "images.npy": changed(members["images.npy"], random, 128),
                }.items():
                    archive.writestr(name, array)
        try:
            load_golden(path, SMALL_SCHEMA, SMALL_INPUT)
        except ArtifactError:
            refused += 1
    assert refused > 200


def changed(content: bytes, random: np.random.Generator, end: int) -> bytes:
    """Put another value or a digit, bracket or quote in up to three places before ``end``."""
    result = bytearray(content)
    for _ in range(random.integers(1, 4)):
        value = random.choice([*b"0123456789'(),{}<|:TFo ", random.integers(256)])
        result[random.integers(end)] = int(value)
    return bytes(result)


@pytest.mark.parametrize("content", [None, b"", b"PK", b"\x93NUMPY"])
def test_load_refuses_what_is_no_archive(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "g.npz").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"g\.npz"):
        load_golden(tmp_path / "g.npz", SMALL_SCHEMA, SMALL_INPUT)


def test_load_refuses_a_zip_bomb_before_unpacking(tmp_path: Path) -> None:
    path = tmp_path / "g.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("images.npy", "w", force_zip64=True) as member,
    ):
        for _ in range(257):
            member.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(ArtifactError, match="unpacks to"):
        load_golden(path, SMALL_SCHEMA, SMALL_INPUT)


@pytest.mark.parametrize(
    ("images", "change"),
    [
        (random_images(0), lambda s: s),
        (random_images(2).astype(np.float32), lambda s: s),
        (random_images(2), lambda s: {**s, "first": s["first"][:1]}),
        (random_images(2), lambda s: {**s, "first": s["first"] * np.float32("nan")}),
    ],
)
def test_write_refuses(tmp_path: Path, images: Any, change: Callable[[Any], Any]) -> None:
    scores = TinyNetwork().logits(random_images(2))
    with pytest.raises(ArtifactError):
        write_golden(tmp_path / "g.npz", images, change(scores))
    assert not (tmp_path / "g.npz").exists()


@pytest.mark.parametrize(("batch", "batches"), [(1, [1] * 5), (2, [2, 2, 1]), (16, [5])])
def test_check_passes(
    artifact: tuple[Path, Manifest], network: TinyNetwork, batch: int, batches: list[int]
) -> None:
    folder, manifest = artifact
    session = FakeSession(network.logits)
    report = check_golden(session, manifest, folder, batch=batch)
    assert (report.samples, report.tolerance) == (5, 0.01)
    assert report.max_abs_diff < 1e-6
    assert session.batches == batches


def test_check_reports_the_largest_difference(
    artifact: tuple[Path, Manifest], network: TinyNetwork
) -> None:
    folder, manifest = artifact

    def shifted(images: Images) -> Logits:
        scores = network.logits(images)
        scores["colour"] = scores["colour"] + np.asarray([0.01, 0], np.float32)
        return scores

    report = check_golden(FakeSession(shifted), manifest, folder)
    assert report.worst_head == "colour"
    assert 0 < report.max_abs_diff <= 0.0025  # softmax moves by at most a quarter of the shift
    strict = dataclasses.replace(manifest, golden_tolerance=report.max_abs_diff / 2)
    with pytest.raises(EngineError, match="'colour' differs"):
        check_golden(FakeSession(shifted), strict, folder)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("head", ["first", "extras"])
def test_check_fails_on_broken_scores(
    artifact: tuple[Path, Manifest], network: TinyNetwork, head: str, value: float
) -> None:
    folder, manifest = artifact

    def broken(images: Images) -> Logits:
        scores = network.logits(images)
        scores[head][:, 0] = value
        return scores

    with pytest.raises(EngineError, match=f"'{head}' differs"):
        check_golden(FakeSession(broken), manifest, folder)


def sure_logits(images: Images) -> dict[str, npt.NDArray[np.float32]]:
    """Answers that are as good as certain, another for each image."""
    choice = np.random.default_rng(0)
    return {
        head.name: np.where(
            np.arange(head.size) == choice.integers(head.size, size=(len(images), 1)), 9, -9
        ).astype(np.float32)
        for head in SMALL_SCHEMA.heads
    }


def integer_artifact(folder: Path, network: TinyNetwork, **changes: Any) -> tuple[Manifest, Images]:
    manifest = write_artifact(folder, network, golden=1)
    images = random_images(16)
    write_golden(folder / GOLDEN_FILE, images, sure_logits(images))
    changes = {"precision": "int8", "golden_tolerance": 0.25, **changes}
    return dataclasses.replace(manifest, **changes), images


@pytest.mark.parametrize(
    ("precision", "other", "passes"),
    [
        ("int8", 2, True),
        ("int8", 3, False),
        ("dynamic", 2, True),
        ("fp32", 0, True),
        ("fp32", 1, False),
    ],
)
def test_few_crops_of_an_integer_engine_may_move_by_any_probability(
    tmp_path: Path, network: TinyNetwork, precision: str, other: int, passes: bool
) -> None:
    folder = tmp_path / "artifact"
    manifest, _ = integer_artifact(folder, network, precision=precision)

    def clipped(images: Images) -> Logits:
        scores = sure_logits(images)
        scores["colour"][:other] = scores["colour"][:other, ::-1]
        return scores

    session = FakeSession(clipped)
    if passes:
        assert check_golden(session, manifest, folder, batch=16).missed == other
    else:
        with pytest.raises(EngineError, match=rf"'colour' differs .*; {other} of 16 crops differ"):
            check_golden(session, manifest, folder, batch=16)


def test_a_number_that_is_none_is_allowed_on_no_crop(tmp_path: Path, network: TinyNetwork) -> None:
    folder = tmp_path / "artifact"
    manifest, _ = integer_artifact(folder, network)

    def broken(images: Images) -> Logits:
        scores = sure_logits(images)
        scores["colour"][3, 1] = np.nan
        return scores

    with pytest.raises(EngineError, match="'colour' differs from the golden vectors by nan"):
        check_golden(FakeSession(broken), manifest, folder, batch=16)


@pytest.mark.parametrize(("noise", "passes"), [(0.0, True), (0.05, True), (0.2, False)])
def test_scores_that_drift_everywhere_are_found_though_no_probability_moves(
    tmp_path: Path, network: TinyNetwork, noise: float, passes: bool
) -> None:
    folder = tmp_path / "artifact"
    manifest, _ = integer_artifact(folder, network)

    def drifted(images: Images) -> Logits:
        random = np.random.default_rng(1)
        return {
            name: scores + (random.normal(0, noise * 9, scores.shape)).astype(np.float32)
            for name, scores in sure_logits(images).items()
        }

    if passes:
        report = check_golden(FakeSession(drifted), manifest, folder, batch=16)
        assert report.missed == 0
        assert 0.5 * noise <= report.drift <= 1.5 * noise
    else:
        with pytest.raises(
            EngineError, match=r"drifted .* by 0\.\d+ of their size, allowed is 0\.1"
        ):
            check_golden(FakeSession(drifted), manifest, folder, batch=16)


def test_crops_that_moved_most_are_no_drift(tmp_path: Path, network: TinyNetwork) -> None:
    folder = tmp_path / "artifact"
    manifest, _ = integer_artifact(folder, network)

    def clipped(images: Images) -> Logits:
        return {
            name: np.concatenate([s[:11] * 2, s[11:]]) for name, s in sure_logits(images).items()
        }

    assert check_golden(FakeSession(clipped), manifest, folder, batch=16).drift == 0


@pytest.mark.parametrize(("found", "passes"), [(0.0, True), (0.01, False)])
def test_drift_of_scores_that_are_all_nothing(
    tmp_path: Path, network: TinyNetwork, found: float, passes: bool
) -> None:
    folder = tmp_path / "artifact"
    manifest, images = integer_artifact(folder, network)
    nothing = {name: scores * 0 for name, scores in sure_logits(images).items()}
    write_golden(folder / GOLDEN_FILE, images, nothing)

    def answers(_: Images) -> Logits:
        return {**nothing, "extras": nothing["extras"] + np.float32(found)}

    if passes:
        assert check_golden(FakeSession(answers), manifest, folder, batch=16).drift == 0
    else:
        with pytest.raises(EngineError, match="by inf of their size"):
            check_golden(FakeSession(answers), manifest, folder, batch=16)
