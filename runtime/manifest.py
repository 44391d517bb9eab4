"""The manifest of an artifact: ``artifact.json``, everything a reader must know of an engine.

It names the schema, the input, the outputs in order, the operating point, what the engine was
made from and by, and size and SHA-256 of every file, so that a changed byte is found before an
engine sees it. It does *not* prove who made the artifact: that takes a signature, which
``runtime.verify`` checks. The format is specified in docs/artifact-format.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from .errors import ArtifactError, ConfigError, IntegrityError
from .file_records import FileRecord, check_records
from .preprocess import InputSpec
from .schema import Schema
from .scores import OperatingPoint
from .seal import UNSEALED, seal, sealed
from .staging import read_plain
from .strict import StrictObject, parse_json

__all__ = [
    "FORMAT_VERSION",
    "GOLDEN_FILE",
    "KIT_FILE",
    "MANIFEST_FILE",
    "PRECISIONS",
    "SIGNATURE_FILE",
    "ArtifactName",
    "FileRecord",
    "Manifest",
    "manifest_text",
]

FORMAT_VERSION: Final = 1
PRECISIONS: Final = ("fp32", "fp16", "bf16", "int8", "dynamic")
"""``dynamic``: INT8 weights, and activations that are rounded to 8 bits as they come."""
MANIFEST_FILE: Final = "artifact.json"
GOLDEN_FILE: Final = "golden.npz"
KIT_FILE: Final = "kit.json"
"""In a folder that holds no engine but what it takes to build one (``export.trt.kit``)."""
SIGNATURE_FILE: Final = "model.sig"
"""May be there or not; ``runtime.verify`` reads it."""
_LARGEST_BYTES: Final = 16 << 20
"""Size of a manifest that is refused; ours have some 30 kB."""


class ArtifactName(NamedTuple):
    """Which artifact an answer comes from."""

    id: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Parsed ``artifact.json``.

    Raises:
        ArtifactError: a field out of range, or an operating point that does not fit the schema.
    """

    id: str
    """Name and content: schema, engine, precision and the start of the engine's digest."""
    version: int
    """Grows with every export of the same id prefix; loaders may refuse to go back."""
    schema: Schema
    input: InputSpec
    engine: str
    """Which session opens it, a key of ``runtime.session.OPENERS``."""
    engine_file: str
    """The file to hand to the engine, relative to the folder."""
    precision: str
    """One of ``PRECISIONS``: what the engine is asked to compute in."""
    operating: OperatingPoint
    golden_tolerance: float
    """Largest probability difference from the golden vectors that a load accepts, in (0, 1]."""
    files: Mapping[str, FileRecord]
    """Every file of the folder but ``artifact.json``, by name."""
    passport: Mapping[str, str] = field(default_factory=dict)
    """What built the engine: package versions, instruction set, source digest."""
    parity: Mapping[str, Any] = field(default_factory=dict)
    """The export gate's report."""
    lineage: Mapping[str, Any] = field(default_factory=dict)
    """Resolved configs, digests and metrics of every step before."""
    sha256: str | None = field(default=None, compare=False)
    """Seal of the text that it was read from; None where it was made here or before there were
    seals."""

    def __post_init__(self) -> None:
        if self.version < 0 or not 0 < self.golden_tolerance <= 1:
            raise ArtifactError(
                f"version must be >= 0 and golden_tolerance in (0, 1], got {self.version} and "
                f"{self.golden_tolerance}"
            )
        if self.precision not in PRECISIONS:
            raise ArtifactError(f"precision {self.precision!r} is unknown; use one of {PRECISIONS}")
        for name in (self.engine_file, GOLDEN_FILE):
            if name not in self.files:
                raise ArtifactError(f"manifest lists no file {name!r}; it lists {[*self.files]}")
        for name in self.files:
            reserved = name in (MANIFEST_FILE, SIGNATURE_FILE)
            if not name or set(name) & set("/\\:\0") or name[0] == "." or reserved:
                raise ArtifactError(f"file name {name!r} is not a plain name inside the folder")
        try:
            self.operating.check_schema(self.schema)
        except ConfigError as error:
            raise ArtifactError(f"manifest {self.id!r}: {error}") from error

    @property
    def name(self) -> ArtifactName:
        """Id and version."""
        return ArtifactName(self.id, self.version)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the engine's outputs, in order: the schema's heads."""
        return tuple(head.name for head in self.schema.heads)

    def to_json(self) -> str:
        """Return the text of ``artifact.json``; ``from_json`` is the inverse.

        Raises:
            ArtifactError: ``parity`` or ``lineage`` hold what JSON has not, such as NaN or a path.
        """
        value = {
            "format_version": FORMAT_VERSION,
            "id": self.id,
            "version": self.version,
            "schema": self.schema.to_object(),
            "input": self.input.to_object(),
            "outputs": [
                {"name": head.name, "scores": "logits", "size": head.size}
                for head in self.schema.heads
            ],
            "engine": self.engine,
            "engine_file": self.engine_file,
            "precision": self.precision,
            "operating": self.operating.to_object(),
            "golden_tolerance": self.golden_tolerance,
            "files": {
                name: {"size_bytes": record.size_bytes, "sha256": record.sha256}
                for name, record in sorted(self.files.items())
            },
            "passport": dict(self.passport),
            "parity": dict(self.parity),
            "lineage": dict(self.lineage),
            "sha256": UNSEALED,
        }
        try:
            return seal(json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n")
        except (TypeError, ValueError) as error:
            raise ArtifactError(
                f"manifest {self.id!r} cannot be written as JSON: {error}; use null and plain "
                "values"
            ) from error

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Parse ``artifact.json``, refusing unknown versions, unknown keys and wrong types.

        Whether its seal fits is checked by ``load``, where a file may have been damaged.

        Raises:
            ArtifactError: the text is not a manifest of this format version.
        """
        value = parse_json(text, MANIFEST_FILE, ArtifactError)
        version = value.get("format_version") if isinstance(value, dict) else None
        if version != FORMAT_VERSION or type(version) is not int:
            raise ArtifactError(
                f"{MANIFEST_FILE}: format version {version!r} is not {FORMAT_VERSION}, the one "
                "this runtime reads; export again or update the runtime"
            )
        try:
            return _parse(value)
        except ConfigError as error:
            raise ArtifactError(f"{MANIFEST_FILE}: {error}") from error

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read the manifest of an artifact folder, without looking at the other files.

        Raises:
            ArtifactError: there is no readable manifest.
            IntegrityError: it was changed since it was written.
        """
        text = manifest_text(folder)
        manifest = cls.from_json(text)
        if manifest.sha256 is not None and not sealed(text, manifest.sha256):
            raise IntegrityError(
                f"{folder / MANIFEST_FILE} was changed; copy the artifact again or export anew"
            )
        return manifest

    def check_files(self, folder: Path) -> None:
        """Compare every file with its size and digest; no other file may be there.

        Raises:
            IntegrityError: a file is missing, changed, unreadable, a link, or not listed.
        """
        check_records(folder, self.files, besides={MANIFEST_FILE, SIGNATURE_FILE})


def manifest_text(folder: Path) -> str:
    """Return the text of an artifact's manifest, unparsed; a file of others, read with care.

    Raises:
        ArtifactError: there is none, or it is no plain file, larger than manifests are, or no text.
    """
    path = folder / MANIFEST_FILE
    try:
        return read_plain(path, largest_bytes=_LARGEST_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        if (folder / KIT_FILE).exists():
            raise ArtifactError(
                f"{folder} is a build kit for TensorRT, not an artifact: nothing in it was "
                f"proven; on the device: python -m export.trt.kit {folder} --output ARTIFACT"
            ) from error
        raise ArtifactError(
            f"{path} cannot be read ({error}); expected an artifact folder as written by "
            "`python -m export.onnx`"
        ) from error


def _parse(value: object) -> Manifest:
    with StrictObject(value, MANIFEST_FILE, ArtifactError) as item:
        item.integer("format_version")
        schema = Schema.from_object(item.mapping("schema"))
        _check_outputs(item.items("outputs"), schema)
        return Manifest(
            id=item.text("id"),
            version=item.integer("version"),
            schema=schema,
            input=InputSpec.from_object(item.mapping("input")),
            engine=item.text("engine"),
            engine_file=item.text("engine_file"),
            precision=item.text("precision"),
            operating=OperatingPoint.from_object(item.mapping("operating")),
            golden_tolerance=item.number("golden_tolerance"),
            files={name: _record(name, entry) for name, entry in item.mapping("files").items()},
            passport=item.text_mapping("passport"),
            parity=item.mapping("parity"),
            lineage=item.mapping("lineage"),
            sha256=item.optional_text("sha256"),
        )


def _record(name: str, value: object) -> FileRecord:
    with StrictObject(value, f"files[{name!r}]", ArtifactError) as item:
        record = FileRecord(item.integer("size_bytes"), item.text("sha256"))
    if record.size_bytes < 0 or re.fullmatch("[0-9a-f]{64}", record.sha256) is None:
        raise ArtifactError(
            f"files[{name!r}]: expected a size >= 0 and a SHA-256 of 64 lower-case hex digits, got "
            f"{record.size_bytes} and {record.sha256!r:.80}"
        )
    return record


def _check_outputs(values: Any, schema: Schema) -> None:
    """The outputs are derived from the schema; the file must say the same."""
    expected = [(head.name, "logits", head.size) for head in schema.heads]
    found = []
    for value in values:
        with StrictObject(value, "outputs", ArtifactError) as item:
            found.append((item.text("name"), item.text("scores"), item.integer("size")))
    if found != expected:
        raise ArtifactError(f"outputs {found} do not match the schema's heads {expected}")
