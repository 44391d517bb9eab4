"""Every error that Headlight raises on purpose, in one tree.

::

    HeadlightError
    ├── ConfigError              an option, recipe or budget that cannot work
    │   └── SchemaError          heads, labels or readings that contradict themselves
    ├── DataError                labelled rows or images that cannot be used
    ├── ImageError               an image handed to the runtime is not H x W x 3 uint8
    ├── CheckpointError          a checkpoint folder that is broken or of another schema
    ├── ArtifactError            an artifact folder that is broken or of another version
    │   └── IntegrityError       a file differs from its digest in the manifest
    │       └── SignatureError   no signature, or none by the key that is trusted
    ├── EngineError              an engine refused to load or run a graph
    │   ├── EngineUnavailableError   the engine's package is not installed
    │   └── ClosedError          the reader was closed, or belongs to another process
    ├── OverloadError            a request that was dropped because too many were waiting
    │   └── DeadlineError        a request that was not answered in time
    ├── DeliveryError            a sink did not take an event, and may later
    │   └── RejectedError        a sink will never take it
    ├── ParityError              an engine disagrees with what it was made from
    └── MissingExtraError        a command needs a package that is not installed

Messages say what, got, expected, and what to do. Commands print them as ``error: ...`` and
exit with 1; embedders catch ``HeadlightError``.
"""

__all__ = [
    "ArtifactError",
    "CheckpointError",
    "ClosedError",
    "ConfigError",
    "DataError",
    "DeadlineError",
    "DeliveryError",
    "EngineError",
    "EngineUnavailableError",
    "HeadlightError",
    "ImageError",
    "IntegrityError",
    "MissingExtraError",
    "OverloadError",
    "ParityError",
    "RejectedError",
    "SchemaError",
    "SignatureError",
]


class HeadlightError(Exception):
    """Root of all errors raised on purpose."""


class ConfigError(HeadlightError):
    """An option, recipe or budget that cannot work."""


class SchemaError(ConfigError):
    """Heads, labels or readings that contradict themselves."""


class DataError(HeadlightError):
    """Labelled rows or images that cannot be used."""


class ImageError(HeadlightError):
    """An image handed to the runtime is not an (H, W, 3) uint8 array."""


class CheckpointError(HeadlightError):
    """A checkpoint folder that is broken or belongs to another schema."""


class ArtifactError(HeadlightError):
    """An artifact folder that is broken or of an unknown format version."""


class IntegrityError(ArtifactError):
    """A file of an artifact differs from its size or digest in the manifest."""


class SignatureError(IntegrityError):
    """An artifact without a signature, or with none by the key that is trusted."""


class EngineError(HeadlightError):
    """An engine refused to load or to run a graph."""


class EngineUnavailableError(EngineError):
    """The engine's Python package is not installed."""


class ClosedError(EngineError):
    """The reader was closed, or was opened by a process that this one was forked from."""


class OverloadError(HeadlightError):
    """A request that was dropped because more were waiting than the reader may hold."""


class DeadlineError(OverloadError):
    """A request that could not be answered before its deadline."""


class DeliveryError(HeadlightError):
    """A sink that did not take an event; it is offered again, later."""


class RejectedError(DeliveryError):
    """A sink that will never take an event; it is not offered again."""


class ParityError(HeadlightError):
    """An engine's decoded answers differ from those of the checkpoint it was made from."""


class MissingExtraError(HeadlightError):
    """A command needs a package that is not installed."""
