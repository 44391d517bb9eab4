"""What goes into a repository: models by name, each with one artifact per version."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from runtime.engine_imports import openvino_core
from runtime.errors import ArtifactError, ConfigError
from runtime.manifest import MANIFEST_FILE, SIGNATURE_FILE, Manifest
from runtime.trust import load_manifest

from .config import RepositoryConfig

__all__ = ["Model", "check_engines", "copy_versions", "gather"]

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model and its versions, which differ in nothing that the server's config says."""

    name: str
    versions: Mapping[int, Path]
    """Version number to artifact, oldest first."""
    manifests: Sequence[Manifest]
    """Of the versions."""
    batch: int | None
    """Images that the graph takes at once; None where it takes any number."""

    @property
    def manifest(self) -> Manifest:
        """Of the newest version."""
        return self.manifests[-1]


def gather(config: RepositoryConfig) -> list[Model]:
    """Check all artifacts and group them into models.

    Raises:
        ConfigError: names or versions that no server takes, or versions that do not fit together.
        ArtifactError: a folder is no whole artifact, or not signed as asked.
        EngineUnavailableError: OpenVINO is not installed, and one of them is for it.
    """
    manifests = {}
    for folder in config.artifacts:
        manifests[folder] = load_manifest(folder, key=config.verify)
        manifests[folder].check_files(folder)
    names = _names(config)
    groups: dict[str, list[Path]] = {}
    for name, folder in zip(names, config.artifacts, strict=True):
        groups.setdefault(name, []).append(folder)
    return [_model(name, folders, manifests) for name, folders in groups.items()]


def _names(config: RepositoryConfig) -> Sequence[str]:
    folders = config.artifacts
    if not folders:
        raise ConfigError(
            "name at least one artifact folder, as written by `python -m export.onnx`"
        )
    names = config.names or tuple(folder.resolve().name for folder in folders)
    if len(names) != len(folders):
        raise ConfigError(
            f"expected one name per artifact, got {len(names)} names for {len(folders)} artifacts"
        )
    if not config.names and len(set(names)) < len(names):
        raise ConfigError(f"artifact folders share a name: {[*names]}; tell them apart by --names")
    for name in names:
        if _NAME.fullmatch(name) is None:
            raise ConfigError(
                f"model name {name!r}: expected letters, digits, _, - and dots; pass --names"
            )
    return names


def _model(name: str, folders: Sequence[Path], manifests: Mapping[Path, Manifest]) -> Model:
    versions: dict[int, Path] = {}
    for folder in sorted(folders, key=lambda folder: manifests[folder].version):
        version = manifests[folder].version
        if version < 1:
            raise ConfigError(f"{folder} has version {version}; servers count from 1")
        if version in versions:
            raise ConfigError(f"{folder} and {versions[version]} are both version {version}")
        versions[version] = folder
    found = {folder: _fixed_batch(folder, manifests[folder]) for folder in folders}
    newest = [*versions.values()][-1]
    for folder in folders:
        if _contract(manifests[folder], found[folder]) != _contract(
            manifests[newest], found[newest]
        ):
            raise ConfigError(
                f"{folder} cannot be a version of the same model as {newest}: another schema, "
                "input, engine or batch size; give it another name by --names"
            )
    return Model(
        name=name,
        versions=versions,
        manifests=[manifests[folder] for folder in versions.values()],
        batch=found[newest],
    )


def _contract(manifest: Manifest, batch: int | None) -> tuple[object, ...]:
    """All that a server's config says of a version."""
    return (manifest.schema, manifest.input, manifest.engine, manifest.engine_file, batch)


def _fixed_batch(folder: Path, manifest: Manifest) -> int | None:
    profile = manifest.passport.get("profile", "").split()
    try:
        if manifest.engine == "onnx":
            return _onnx_batch(folder / manifest.engine_file)
        if manifest.engine == "openvino":
            return _openvino_batch(folder / manifest.engine_file)
        return int(profile[0]) if profile and profile[0] == profile[-1] else None
    except (ValueError, IndexError, RuntimeError) as error:
        raise ArtifactError(f"{folder}: no size of a batch can be read: {error}") from error


def _onnx_batch(path: Path) -> int | None:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        (image,) = onnx.load(path, load_external_data=False).graph.input
    except DecodeError as error:
        raise ValueError(error) from error
    return image.type.tensor_type.shape.dim[0].dim_value or None


def _openvino_batch(path: Path) -> int | None:
    size: Any = openvino_core().read_model(path).inputs[0].get_partial_shape()[0]
    return None if size.is_dynamic else int(size.get_length())


def check_engines(models: Sequence[Model], allowed: Sequence[str], server: str) -> None:
    """Fail on artifacts that a server would run in another engine than they were proven in.

    Raises:
        ConfigError: there is one.
    """
    for model in models:
        if model.manifest.engine not in allowed:
            commands = " or ".join(f"export.{engine}" for engine in allowed)
            raise ConfigError(
                f"{model.name} is built and proven for {model.manifest.engine!r}, which {server} "
                f"does not run; export the checkpoint with {commands}"
            )


def copy_versions(model: Model, folder: Path) -> None:
    """Copy each artifact into ``folder/VERSION``, whole, so that it verifies there as well.

    Raises:
        IntegrityError: an artifact was changed meanwhile.
    """
    for version, source in model.versions.items():
        target = folder / str(version)
        target.mkdir()
        manifest = Manifest.load(source)
        names = [MANIFEST_FILE, *manifest.files]
        if (source / SIGNATURE_FILE).is_file():
            names.append(SIGNATURE_FILE)
        for name in names:
            shutil.copyfile(source / name, target / name)
        manifest.check_files(target)
