"""Opening bare models as artifacts are opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runtime.file_records import FileRecord
from runtime.manifest import Manifest
from runtime.reader import Reader
from runtime.scores import OperatingPoint
from runtime.session import Session, SessionOptions

from .description import Description, find_description, read_description
from .graph_opening import open_graph
from .session import ForeignSession

__all__ = ["ForeignManifest", "foreign_manifest", "open_foreign", "open_reader"]

_DIGEST_LENGTH = 12
"""Characters of the digest in an id, as in those of artifacts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignManifest(Manifest):
    """What stands in a description, where a manifest is wanted.

    Nobody vouches for the files, and there are neither golden vectors nor thresholds.
    """

    description: Description

    def __post_init__(self) -> None:
        """Check nothing: a description was checked when it was read."""


def foreign_manifest(path: Path) -> ForeignManifest:
    """Read a description and the digests of its model's files.

    Raises:
        ConfigError: the description is wrong, or its model is not there.
    """
    given = read_description(path)
    found = [given.model] + [
        beside
        for suffix in (".bin", ".onnx.data", ".data")
        if (beside := given.model.with_suffix(suffix)).is_file()
    ]
    files = {each.name: FileRecord.of(each) for each in found if each.is_file()}
    digest = files[given.model.name].sha256[:_DIGEST_LENGTH] if files else "missing"
    return ForeignManifest(
        id=f"{given.schema.name}-{given.engine}-{given.path.stem}-{digest}",
        version=0,
        schema=given.schema,
        input=given.input.size,
        engine=given.engine,
        engine_file=given.model.name,
        precision=given.precision,
        operating=OperatingPoint(),
        golden_tolerance=1.0,
        files=files,
        description=given,
    )


def open_foreign(path: Path, options: SessionOptions) -> tuple[ForeignManifest, Session]:
    """Load the model of a description.

    Raises:
        ConfigError: the description is wrong, or the graph is not what it says.
        EngineError: the engine is not installed or refuses the file.
    """
    manifest = foreign_manifest(path)
    given = manifest.description
    graph = open_graph(given.engine, given.model, options, compiled=given.compile)
    try:
        return manifest, ForeignSession(given, graph)
    except BaseException:
        graph.close()
        raise


def open_reader(path: Path | str, *, threads: int = 1, max_batch: int = 16) -> Reader:
    """Return a reader on a bare model, like ``Reader.open`` on an artifact.

    Args:
        path: The description, or the model that it lies beside.
        threads: Threads for one engine call.
        max_batch: Images per engine call.

    Raises:
        ConfigError: there is no description, or it is wrong.
        EngineError: the engine is not installed or refuses the file.
    """
    found = find_description(Path(path)) or Path(path)
    manifest, session = open_foreign(found, SessionOptions(threads=threads, batch=max_batch))
    return Reader(manifest, session, max_batch=max_batch)
