"""Pack labelled crops into tar shards: ``python -m train.shards SOURCE... --output DIR``.

The shards are WebDataset's (docs/data-formats.md): ``shards-000000.tar`` with members
``00000000.jpg`` and ``00000000.txt`` or ``.json``. Files are packed as they are; only a region of a
picture is cut out, and stored without loss.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import tyro

from benchmarks.command import run_command, say
from benchmarks.crops.label_encoding import Form, encoder, named_fields
from benchmarks.crops.pictures import Pictures
from benchmarks.crops.rows import Rows
from benchmarks.labelled import bad_rows_error, scan_rows
from runtime.errors import ConfigError, DataError
from runtime.schema import Schema
from runtime.staging import check_free, new_folder

from .labels import resolve_schema
from .progress import progress

__all__ = ["ShardsConfig", "main", "write_shards"]

_MIB: Final = 2**20
_BLOCK_BYTES: Final = 512
_EXTENSIONS: Final = {Form.COLUMN: "txt", Form.FIELDS: "json", Form.NUMBERS: "cls"}
_SUFFIXES: Final = {b"\xff\xd8": "jpg", b"\x89PNG": "png", b"BM": "bmp", b"RIFF": "webp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardsConfig:
    """Pack labelled crops into tar shards, which are read in place.

    Raises:
        ConfigError: no source, or a shard size below 1 MiB.
    """

    sources: tyro.conf.Positional[tuple[Path, ...]]
    """Labelled lists, tables, trees or shards."""
    output: Path
    """Folder to make; it is itself a source afterwards."""
    schema: str | None = None
    """Schema that the labels must fit, as for train.fit; needed for labels given as numbers."""
    shard_mb: int = 256
    """Size at which the next shard begins, MiB."""
    skip_bad: bool = False
    """Leave bad rows out instead of failing."""
    overwrite: bool = False
    """Replace an existing OUTPUT."""

    def __post_init__(self) -> None:
        if self.shard_mb < 1 or not self.sources:
            raise ConfigError(f"expected a source and --shard-mb >= 1, got {self.shard_mb}")


@dataclass(frozen=True, slots=True)
class _Sample:
    """One sample as it is packed: extension and content of its two members."""

    picture: tuple[str, bytes]
    label: tuple[str, bytes]

    @property
    def size_bytes(self) -> int:
        """What it takes in a tar file: a header block a member, and whole blocks."""
        members = (len(content) for _, content in (self.picture, self.label))
        return sum((1 + -(-size // _BLOCK_BYTES)) * _BLOCK_BYTES for size in members)


def write_shards(config: ShardsConfig) -> tuple[int, int]:
    """Check the sources and pack them, whole or not at all; return the samples and shards packed.

    Raises:
        HeadlightError: bad options, or rows that cannot be used.
    """
    check_free(config.output, overwrite=config.overwrite)
    schema = resolve_schema(config.schema, config.sources) if config.schema else None
    scans = [scan_rows(source, schema) for source in config.sources]
    with (
        new_folder(config.output, overwrite=config.overwrite) as folder,
        progress("packing", sum(map(len, scans))) as bar,
    ):
        writer = _Writer(folder, config.shard_mb * _MIB)
        try:
            for source, rows in zip(config.sources, scans, strict=True):
                bad = []
                for sample in _samples(rows, schema):
                    if isinstance(sample, str):
                        bad.append(sample)
                    else:
                        writer.add(sample)
                        bar(writer.samples, "")
                if bad and not config.skip_bad:
                    raise bad_rows_error(source, bad, len(rows))
                if bad:
                    say(f"{source}: left out {len(bad)} bad rows; the first: {bad[0]}")
        finally:
            writer.close()
        if not writer.samples:
            raise DataError(f"{', '.join(map(str, config.sources))}: no sample that can be used")
    return writer.samples, writer.shards


class _Writer:
    """Writes samples to numbered shards of a folder, each about ``room`` bytes."""

    def __init__(self, folder: Path, room: int) -> None:
        self._folder, self._room, self._used = folder, room, 0
        self._tar: tarfile.TarFile | None = None
        self.samples = self.shards = 0

    def add(self, sample: _Sample) -> None:
        if self._tar is None or self._used + sample.size_bytes > self._room:
            self.close()
            path = self._folder / f"shards-{self.shards:06d}.tar"
            self._tar = tarfile.open(path, "x", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
            self.shards, self._used = self.shards + 1, 0
        for extension, content in (sample.picture, sample.label):
            member = tarfile.TarInfo(f"{self.samples:08d}.{extension}")  # time 0: the same bytes
            member.size = len(content)
            self._tar.addfile(member, io.BytesIO(content))
        self.samples, self._used = self.samples + 1, self._used + sample.size_bytes

    def close(self) -> None:
        if self._tar is not None:
            self._tar.close()
            self._tar = None


def _samples(rows: Rows, schema: Schema | None) -> Iterator[_Sample | str]:
    """Yield the samples, in order; for a row that cannot be used, where it is and why."""
    labels = {form: _packer(Form(form), schema) for form in set(rows.forms.tolist())}
    for row, text in enumerate(rows.texts):
        try:
            if row in rows.faults:
                raise DataError(rows.faults[row])
            label = labels[rows.forms[row]](text)
            sample: _Sample | str = _Sample(_picture(rows.pictures, row), label)
        except DataError as error:
            sample = f"{rows.where(row)}: {error}"
        yield sample


def _packer(form: Form, schema: Schema | None) -> Callable[[str], tuple[str, bytes]]:
    """Return the function from a row's text to extension and content of the label member."""
    encode = encoder(schema, form) if schema else None

    def pack(text: str) -> tuple[str, bytes]:
        encoded = encode(text) if encode else None
        if form in (Form.NUMBERS, Form.ATTRIBUTES) and schema and encoded:
            text = json.dumps(named_fields(schema, encoded), ensure_ascii=False)
            return "json", text.encode()
        return _EXTENSIONS[form], text.encode()

    return pack


def _picture(pictures: Pictures, row: int) -> tuple[str, bytes]:
    """Return extension and content of the picture, checked by decoding it."""
    content = pictures.content(row)
    image = pictures.decode(row, content)
    known = [suffix for start, suffix in _SUFFIXES.items() if content.startswith(start)]
    if known and not pictures.cut(row):
        return known[0], content
    return "png", cv2.imencode(".png", image)[1].tobytes()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(argv, ShardsConfig, _work, prog="python -m train.shards")


def _work(config: ShardsConfig) -> int:
    samples, shards = write_shards(config)
    print(f"packed {samples} samples into {shards} shards")
    print(f"wrote {config.output}; next: python -m train.fit --data {config.output} --help")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
