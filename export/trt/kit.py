"""Build and prove an engine from a kit, on the device that shall run it.

::

    python3 -m export.trt.kit KIT --output ARTIFACT

Needs numpy, OpenCV, TensorRT, cuda-python and Headlight itself; neither torch nor onnx.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.command import say
from benchmarks.environment import device
from export.proof import prove
from runtime.errors import EngineError, HeadlightError
from runtime.manifest import GOLDEN_FILE, KIT_FILE, MANIFEST_FILE, FileRecord, Manifest
from runtime.passport import KIT
from runtime.staging import check_free, file_digest, new_folder
from runtime.trt_module import import_tensorrt

from .building import ENGINE_FILE, build_here
from .kit_files import GRAPH_FILE, Kit, load_kit
from .targets import is_older, target_of

__all__ = ["KitConfig", "build_kit", "main"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KitConfig:
    """What to build."""

    kit: Path
    output: Path
    timing_cache: Path | None = None
    overwrite: bool = False


def build_kit(config: KitConfig) -> Manifest:
    """Build the engine of a kit here, prove it, and write the artifact.

    Raises:
        ParityError: the engine disagrees with the checkpoint; nothing is left behind.
        HeadlightError: a broken kit, no GPU, or TensorRT is missing, too old or fails.
    """
    check_free(config.output, overwrite=config.overwrite)
    kit = load_kit(config.kit)
    _check_version(kit)
    with new_folder(config.output, overwrite=config.overwrite) as folder:
        built = build_here(
            config.kit / GRAPH_FILE, folder, kit.options, timing_cache=config.timing_cache
        )
        passport = {**built, KIT: file_digest(config.kit / KIT_FILE)}
        say(f"proving the engine on {len(kit.crops)} crops")
        manifest = prove(
            _with_engine(kit.draft, folder, passport),
            folder,
            kit.crops,
            kit.expected,
            gate=kit.gate,
            precision_floor=kit.precision_floor,
        )
        (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def _check_version(kit: Kit) -> None:
    """Fail where TensorRT is older than what the graph was checked for."""
    version = str(import_tensorrt(kit.options.engine).__version__)
    if kit.target == "rtx":
        return
    if is_older(version, kit.target):
        target = target_of(version)
        raise EngineError(
            f"the kit was checked for TensorRT {kit.target} and newer, this device has {version}; "
            + (
                f"make another: python -m export.trt ... --target {target}"
                if target is not None
                else "Headlight builds with 8.6 and newer"
            )
        )


def _with_engine(draft: Manifest, folder: Path, passport: Mapping[str, str]) -> Manifest:
    """Return the draft for the engine that was built instead of the graph."""
    engine = FileRecord.of(folder / ENGINE_FILE)
    here = device()
    return replace(
        draft,
        id=f"{draft.id.rpartition('-')[0]}-{engine.sha256[:12]}",
        engine_file=ENGINE_FILE,
        files={ENGINE_FILE: engine, GOLDEN_FILE: engine},  # the latter until it was proven
        passport={
            **{key: text for key, text in draft.passport.items() if key not in _ELSEWHERE},
            **passport,
            "arch": str(here["arch"]),
            "cpu": str(here["cpu"]),
        },
    )


_ELSEWHERE = frozenset({"arch", "cpu", "flags"})
"""What a draft's passport says of the machine that wrote the kit."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 after printing ``error: ...``."""
    parser = argparse.ArgumentParser(
        prog="python -m export.trt.kit", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("kit", type=Path, help="folder that python -m export.trt wrote")
    parser.add_argument("--output", type=Path, required=True, help="artifact folder to make")
    parser.add_argument("--timing-cache", type=Path, help="file of timings, for the next build")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing OUTPUT")
    options = parser.parse_args(argv)
    try:
        manifest = build_kit(KitConfig(**vars(options)))
    except HeadlightError as error:
        say(f"error: {error}")
        return 1
    sys.stdout.write(
        f"wrote {options.output} ({manifest.id}); next: python -m runtime.show {options.output}\n"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
