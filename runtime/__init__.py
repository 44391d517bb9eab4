"""Reading images with a Headlight artifact: numpy, OpenCV and one engine, nothing else.

``Reader.open`` verifies an artifact folder and loads its engine; ``Reader.read`` answers. The
package may be copied into another project under any name. What an artifact is stands in
docs/artifact-format.md.
"""

from .errors import (
    ArtifactError,
    CheckpointError,
    ConfigError,
    DataError,
    EngineError,
    EngineUnavailableError,
    HeadlightError,
    ImageError,
    IntegrityError,
    MissingExtraError,
    ParityError,
    SchemaError,
    SignatureError,
)
from .manifest import Manifest
from .preprocess import InputSpec
from .reader import Reader, Stats
from .results import HeadAnswer, ReadingAnswer, Result, Timings
from .schema import Format, Head, HeadKind, Reading, Schema, load_schema
from .scores import OperatingPoint

__all__ = [
    "ArtifactError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "EngineError",
    "EngineUnavailableError",
    "Format",
    "Head",
    "HeadAnswer",
    "HeadKind",
    "HeadlightError",
    "ImageError",
    "InputSpec",
    "IntegrityError",
    "Manifest",
    "MissingExtraError",
    "OperatingPoint",
    "ParityError",
    "Reader",
    "Reading",
    "ReadingAnswer",
    "Result",
    "Schema",
    "SchemaError",
    "SignatureError",
    "Stats",
    "Timings",
    "load_schema",
]
