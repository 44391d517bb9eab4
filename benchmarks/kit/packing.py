"""Making a kit: the same inputs always give the same bytes."""

from __future__ import annotations

import gzip
import json
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

import benchmarks
import runtime
from benchmarks.budget_file import read_toml
from benchmarks.foreign import find_description, read_description
from benchmarks.scoring import common_schema, load_manifest
from runtime.errors import ConfigError
from runtime.file_records import FileRecord
from runtime.manifest import MANIFEST_FILE, Manifest

from .contents import LISTS, NAME, Contents, Settings
from .crops import pack_crops
from .launchers import LAUNCHERS

__all__ = ["Parts", "pack", "write_tar"]

_PACKAGES: Final = {"runtime": runtime, "benchmarks": benchmarks}
_LEFT_OUT: Final = frozenset({"__pycache__", "results", "budgets", "gateway", "gateway_load.py"})
"""Parts of the packages that no measurement of artifacts needs."""
_LICENCE: Final = "LICENSE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What goes into a kit."""

    artifacts: Mapping[str, Path]
    """By name: folders, or descriptions of bare models."""
    data: Path
    """Crops to measure with: anything that ``--data`` takes."""
    validation: Path | None
    """Labelled crops to fit thresholds on."""
    budget: Path | None
    wheels: Path | None
    """Folder of wheels for the device."""
    settings: Settings


def pack(parts: Parts, folder: Path) -> Contents:
    """Fill an empty folder with a kit.

    Raises:
        HeadlightError: an artifact, a list, a crop or the budget cannot be used.
    """
    manifests = {name: load_manifest(path) for name, path in parts.artifacts.items()}
    schema = common_schema(manifests)
    places = {
        name: _pack_model(path, manifests[name], _place(folder / "artifacts", name))
        for name, path in parts.artifacts.items()
    }
    labelled = pack_crops(parts.data, schema, folder / LISTS["data"])
    if parts.validation is not None:
        fit = pack_crops(parts.validation, schema, folder / LISTS["validation"])
        if not (labelled and fit):
            raise ConfigError(
                f"thresholds are fitted on labelled crops and judged on others; {parts.validation} "
                f"or {parts.data} has no labels"
            )
    budget = None if parts.budget is None else _pack_budget(parts.budget, folder)
    _pack_packages(folder)
    if parts.wheels is not None:
        _pack_wheels(parts.wheels, folder / "wheels")
    for name, text in LAUNCHERS.items():
        (folder / name).write_text(text, encoding="utf-8")
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    contents = Contents(
        artifacts={name: place.relative_to(folder).as_posix() for name, place in places.items()},
        labelled=labelled,
        validation=parts.validation is not None,
        budget=budget,
        settings=parts.settings,
        files={path.relative_to(folder).as_posix(): FileRecord.of(path) for path in paths},
    )
    contents.write(folder)
    return contents


def _place(parent: Path, name: str) -> Path:
    """Make a folder that is called as ``name``, as far as folders may be; results show its name."""
    plain = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in name)
    place = parent / plain
    for number in count(2):
        if not place.exists():
            break
        place = parent / f"{plain}-{number}"
    place.mkdir(parents=True)
    return place


def _pack_model(path: Path, manifest: Manifest, place: Path) -> Path:
    """Copy an artifact, or a bare model with its description; return what opens it."""
    described = find_description(path)
    home = path if described is None else described.parent
    if described is None:
        manifest.check_files(path)
        shutil.copyfile(path / MANIFEST_FILE, place / MANIFEST_FILE)
    for name in manifest.files:
        shutil.copyfile(home / name, place / name)
    return place if described is None else _pack_description(described, place)


def _pack_description(path: Path, place: Path) -> Path:
    """Write a description as JSON, which every Python reads; its schema file goes along."""
    read_description(path)
    value = read_toml(path)
    schema = path.parent / str(value["schema"])
    if schema.is_file():
        shutil.copyfile(schema, place / schema.name)
        value = {**value, "schema": schema.name}
    target = place / f"{path.stem}.json"
    target.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return target


def _pack_budget(path: Path, folder: Path) -> str:
    # As JSON: Python 3.10, which JetPack 6 has, reads no TOML.
    text = json.dumps(read_toml(path), ensure_ascii=False, indent=1)
    (folder / "budget.json").write_text(text + "\n", encoding="utf-8")
    return "budget.json"


def _pack_packages(folder: Path) -> None:
    for name, package in _PACKAGES.items():
        source = Path(package.__file__ or "").parent
        shutil.copytree(
            source,
            folder / "packages" / name,
            ignore=lambda _folder, names: _LEFT_OUT.intersection(names),
        )
    licence = Path(runtime.__file__ or "").parents[1] / _LICENCE
    if licence.is_file():
        shutil.copyfile(licence, folder / "packages" / _LICENCE)


def _pack_wheels(source: Path, place: Path) -> None:
    found = sorted(source.glob("*.whl"))
    if not found:
        raise ConfigError(
            f"{source} has no wheels; fetch those of the device with pip download --only-binary "
            ":all: --platform ... --dest DIR numpy opencv-python-headless onnxruntime "
            "(docs/jetson.md)"
        )
    place.mkdir()
    for wheel in found:
        shutil.copyfile(wheel, place / wheel.name)


def write_tar(folder: Path, target: Path) -> None:
    """Pack a folder; times, owners and order do not depend on where or when.

    Args:
        folder: What to pack.
        target: ``.tar.gz`` to write.
    """
    # The file name and the time of a gzip header would differ from run to run.
    with (
        target.open("wb") as stream,
        gzip.GzipFile(filename="", fileobj=stream, mode="wb", mtime=0, compresslevel=6) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for path in _files(folder):
            member = tarfile.TarInfo(f"{NAME}/{path.relative_to(folder).as_posix()}")
            member.size = path.stat().st_size
            member.mode = 0o755 if path.name in LAUNCHERS else 0o644
            with path.open("rb") as content:
                tar.addfile(member, content)


def _files(folder: Path) -> Sequence[Path]:
    return sorted(
        (path for path in folder.rglob("*") if path.is_file()),
        key=lambda path: path.relative_to(folder).as_posix(),
    )
