"""How an engine is to be built; travels with a build kit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from runtime.errors import ArtifactError, ConfigError
from runtime.strict import StrictObject
from runtime.trt_module import PACKAGES

__all__ = ["BuildOptions"]

_LEVELS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """Options of TensorRT's builder.

    Raises:
        ConfigError: one that cannot work.
    """

    engine: str
    """``trt`` or ``rtx``."""
    precision: str
    """``fp32``, ``fp16`` or ``int8``: what the graph computes in."""
    profile: tuple[int, int, int]
    """Smallest batch, the one to be fastest at, and largest; a graph of fixed batch needs none."""
    workspace_mb: int = 1024
    """GPU memory that a layer may use while it computes, MiB."""
    opt_level: int | None = None
    """How long to look for fast kernels, 0 to 5; TensorRT's own default where not given."""
    dla: int | None = None
    """Deep learning accelerator to run on; layers that it cannot run fall back to the GPU."""

    def __post_init__(self) -> None:
        smallest, usual, largest = self.profile
        if not 1 <= smallest <= usual <= largest:
            raise ConfigError(
                f"a profile is MIN OPT MAX with 1 <= MIN <= OPT <= MAX, got {self.profile}"
            )
        if self.workspace_mb < 1 or (
            self.opt_level is not None and not 0 <= self.opt_level <= _LEVELS
        ):
            raise ConfigError(
                f"--workspace-mb must be >= 1 and --opt-level within 0 to {_LEVELS}, got "
                f"{self.workspace_mb} and {self.opt_level}"
            )
        if self.dla is not None and (self.precision != "fp16" or self.dla < 0):
            raise ConfigError(
                f"a DLA computes FP16 here (for INT8 it wants calibration tables of its own): "
                f"pass --precision fp16 and --dla 0, got {self.precision} and {self.dla}"
            )

    def to_object(self) -> Mapping[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "profile": list(self.profile)}

    @classmethod
    def from_object(cls, value: object) -> BuildOptions:
        """Read what ``to_object`` returned.

        Raises:
            ArtifactError: another object.
            ConfigError: options that cannot work.
        """
        with StrictObject(value, "build", ArtifactError) as item:
            profile = item.integers("profile")
            level, dla = item.optional_number("opt_level"), item.optional_number("dla")
            engine = item.text("engine")
            if len(profile) != 3 or engine not in PACKAGES:
                raise ArtifactError(
                    f"build: expected a profile of 3 and an engine of {[*PACKAGES]}, got {profile} "
                    f"and {engine!r}"
                )
            return cls(
                engine=engine,
                precision=item.text("precision"),
                profile=(profile[0], profile[1], profile[2]),
                workspace_mb=item.integer("workspace_mb"),
                opt_level=None if level is None else int(level),
                dla=None if dla is None else int(dla),
            )
