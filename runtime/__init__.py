"""Reading images with a Headlight artifact: numpy, OpenCV and one engine, nothing else.

``Reader.open`` verifies an artifact folder and loads its engine; ``Reader.read`` answers. The
package may be copied into another project under any name. What an artifact is stands in
docs/artifact-format.md.
"""

from .errors import (
    ArtifactError,
    CheckpointError,
    ClosedError,
    ConfigError,
    DataError,
    DeadlineError,
    DeliveryError,
    EngineError,
    EngineUnavailableError,
    HeadlightError,
    ImageError,
    IntegrityError,
    MissingExtraError,
    OverloadError,
    ParityError,
    RejectedError,
    SchemaError,
    SignatureError,
)
from .health import Health
from .manifest import Manifest
from .preprocess import InputSpec
from .queue import QueueOptions
from .reader import Reader
from .regions import box_quads, rectify
from .results import HeadAnswer, ReadingAnswer, Result, Timings
from .schema import Format, Head, HeadKind, Reading, Schema, load_schema
from .scores import OperatingPoint
from .statistics import Durations, Stats
from .thresholds import Thresholds
from .voting import Track, TrackOptions

__all__ = [
    "ArtifactError",
    "CheckpointError",
    "ClosedError",
    "ConfigError",
    "DataError",
    "DeadlineError",
    "DeliveryError",
    "Durations",
    "EngineError",
    "EngineUnavailableError",
    "Format",
    "Head",
    "HeadAnswer",
    "HeadKind",
    "HeadlightError",
    "Health",
    "ImageError",
    "InputSpec",
    "IntegrityError",
    "Manifest",
    "MissingExtraError",
    "OperatingPoint",
    "OverloadError",
    "ParityError",
    "QueueOptions",
    "Reader",
    "Reading",
    "ReadingAnswer",
    "RejectedError",
    "Result",
    "Schema",
    "SchemaError",
    "SignatureError",
    "Stats",
    "Thresholds",
    "Timings",
    "Track",
    "TrackOptions",
    "box_quads",
    "load_schema",
    "rectify",
]
