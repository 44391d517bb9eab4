"""WebDataset shards: tar files whose members are samples, for sets that do not fit a folder.

A sample is a run of members with the same key, that is the name up to the first dot of its last
part: ``0001.jpg`` and ``0001.txt`` (label column), ``0001.cls`` (label number of the one head) or
``0001.json`` (names to labels). Of several label members the first of these counts.

Shards are not streamed: their headers are read once, and every picture is then read from its place
(docs/adr: an index rather than a stream). So they must be plain tar files on a disk.
"""

from __future__ import annotations

import itertools
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from runtime.errors import DataError

from .label_encoding import Form
from .lists import LIST_FILE
from .pictures import IMAGE_SUFFIXES
from .rows import RowBuilder, Rows

__all__ = ["expand_braces", "shard_rows", "shards_of"]

_NUMBERS: Final = re.compile(r"\{([0-9]+)\.\.([0-9]+)\}")
_CHOICES: Final = re.compile(r"\{([^{}]*,[^{}]*)\}")
_KEY: Final = re.compile(r"((?:.*/|)[^./]+)\.([^/]*)")
_LABELS: Final = {"txt": Form.COLUMN, "cls": Form.NUMBERS, "json": Form.FIELDS}
"""By priority: beside a picture and its label, JSON often holds other notes."""
_PACKED: Final = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"(\xb5/\xfd": "zstd"}
_BLOCK_BYTES: Final = 512


def shards_of(source: Path) -> Sequence[Path] | None:
    """Return the tar files that ``source`` names: one, a folder of them, or a brace pattern.

    ``shards-{000000..000009}.tar`` stands for ten files, ``{train,val}.tar`` for two. None where
    ``source`` is something else, such as a folder with a list beside its tar files.

    Raises:
        DataError: a compressed tar file.
    """
    if re.search(r"\.(tar\.\w+|tgz|tbz2?|txz)$", source.name.lower()):
        raise DataError(_packed(source, source.suffix.removeprefix(".")))
    if (source / LIST_FILE).is_file():
        return None
    if source.is_dir():
        return sorted(path for path in source.iterdir() if path.suffix == ".tar") or None
    if source.suffix.lower() != ".tar":
        return None
    return [source] if source.exists() else [Path(name) for name in expand_braces(str(source))]


def expand_braces(pattern: str) -> list[str]:
    """Return the names that ``{00..12}`` and ``{a,b}`` in ``pattern`` stand for, in order.

    As in a shell, numbers are filled with zeros to one width where one of the two begins with zero.
    """
    found = min(
        filter(None, (_NUMBERS.search(pattern), _CHOICES.search(pattern))),
        key=lambda match: match.start(),
        default=None,
    )
    if found is None:
        return [pattern]
    before, after = pattern[: found.start()], expand_braces(pattern[found.end() :])
    if found.re is _CHOICES:
        middle = found[1].split(",")
    else:
        filled = any(len(number) > 1 and number[0] == "0" for number in found.groups())
        width = max(map(len, found.groups())) if filled else 0
        first, last = map(int, found.groups())
        step = 1 if first <= last else -1
        middle = [f"{n:0{width}}" for n in range(first, last + step, step)]
    return [before + part + rest for part in middle for rest in after]


def shard_rows(shards: Sequence[Path]) -> Rows:
    """Scan shards into rows: which bytes of which shard are a picture, and its label.

    Raises:
        DataError: a shard is missing, compressed, cut short or no tar file.
    """
    rows = RowBuilder()
    for home, shard in enumerate(shards):
        for sample in _samples(shard):
            sample.add_to(rows, home)
    return rows.done(shards)


@dataclass(slots=True)
class _Sample:
    """The members of one key."""

    key: str
    pictures: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Name to (first byte, bytes)."""
    labels: dict[str, str] = field(default_factory=dict)
    """Extension to text."""
    faults: list[str] = field(default_factory=list)

    def note(self, tar: tarfile.TarFile, extension: str, member: tarfile.TarInfo) -> None:
        """Take in a member, unless it is neither picture nor label."""
        if f".{extension}" in IMAGE_SUFFIXES:
            self.pictures[member.name] = (member.offset_data, member.size)
        elif extension in self.labels:
            self.faults.append(f"{extension} twice")
        elif extension in _LABELS:
            content = tar.extractfile(member)
            assert content is not None  # a regular file
            try:
                self.labels[extension] = content.read().decode("utf-8-sig").strip()
            except UnicodeDecodeError as error:
                self.labels[extension] = ""
                self.faults.append(f"{member.name} is not UTF-8 text: {error}")

    def add_to(self, rows: RowBuilder, home: int) -> None:
        if not self.pictures and not self.labels:
            return  # a README or the like
        faults = list(self.faults)
        if len(self.pictures) != 1:
            faults.append(f"{len(self.pictures)} pictures, expected one beside the label")
        if not self.labels:
            expected = " or ".join(f"{self.key}.{extension}" for extension in _LABELS)
            faults.append(f"no label; expected a member {expected}")
        name, span = next(iter(self.pictures.items()), (self.key, (0, 0)))
        extension = next((known for known in _LABELS if known in self.labels), "txt")
        rows.add(
            name,
            self.labels.get(extension, ""),
            _LABELS[extension],
            home=home,
            span=span,
            fault="; ".join(faults) or None,
        )


def _samples(shard: Path) -> Iterator[_Sample]:
    """Yield the samples of a shard, in order.

    Raises:
        DataError: it is missing, compressed, cut short or no tar file.
    """
    try:
        with tarfile.open(shard, "r:") as tar:  # no compression: pictures are read in place
            for key, members in itertools.groupby(_members(shard, tar), key=lambda item: item[0]):
                sample = _Sample(key)
                for _, extension, member in members:
                    sample.note(tar, extension, member)
                yield sample
    except OSError as error:
        raise DataError(f"{shard}: cannot be read: {error.strerror or error}") from error
    except tarfile.ReadError as error:
        raise DataError(_refusal(shard, error)) from error


def _members(shard: Path, tar: tarfile.TarFile) -> Iterator[tuple[str, str, tarfile.TarInfo]]:
    """Yield key, extension and header of the members that belong to samples."""
    size = shard.stat().st_size
    while (member := tar.next()) is not None:
        # Else a header of 2 kB for every picture would stay in memory.
        tar.members.clear()  # type: ignore[attr-defined]
        if member.offset_data + member.size > size:
            raise DataError(f"{shard}: cut short at {size} bytes; copy or make it again")
        parts = _KEY.fullmatch(member.name)
        # Names like __index__.json are notes about the shard.
        if member.isreg() and parts and not re.fullmatch("__.*__", parts[1].rpartition("/")[2]):
            if member.issparse():
                raise DataError(
                    f"{shard}: {member.name} is stored sparsely; pack it with plain tar"
                )
            yield parts[1], parts[2].lower(), member
    # tarfile takes a damaged header for the end; the end is an empty block.
    with shard.open("rb") as stream:
        stream.seek(tar.offset)
        if stream.read(_BLOCK_BYTES) != bytes(_BLOCK_BYTES):
            raise DataError(f"{shard}: damaged or cut short at byte {tar.offset} of {size}")


def _refusal(shard: Path, error: tarfile.ReadError) -> str:
    with shard.open("rb") as stream:
        start = stream.read(6)
    for magic, name in _PACKED.items():
        if start.startswith(magic):
            return _packed(shard, name)
    return f"{shard}: no tar file, or damaged or cut short ({error})"


def _packed(shard: Path, how: str) -> str:
    return (
        f"{shard}: compressed ({how}); unpack it to a plain .tar, pictures are compressed already"
    )
