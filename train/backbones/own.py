"""Networks that are not ours: ``package.module:factory``, and ``timm:NAME``.

A checkpoint is data that may come from anywhere, and it may name a factory. So only what says that
it makes a network is ever called: a subclass of ``nn.Module``, or a function annotated to return
one. No other callable of the machine can be reached from a file. Nothing is imported before a
network is built.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, get_type_hints

from torch import nn

from runtime.errors import ConfigError, MissingExtraError

from .sizes import Size

__all__ = ["build_own", "is_own"]

_OWN: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_TIMM: Final = "timm:"
_FIXED: Final = ("pretrained", "num_classes", "global_pool")


def is_own(name: str) -> bool:
    """Whether ``name`` has the form of a factory or of a timm network; nothing is imported."""
    return _OWN.fullmatch(name) is not None


def build_own(name: str, sizes: Mapping[str, Size]) -> nn.Module:
    """Import the factory that ``name`` names and call it with ``sizes``.

    What it returns takes (N, 3, H, W) normalised float32 and gives a feature map (N, C, h, w), or
    pooled features (N, C).

    Raises:
        MissingExtraError: timm is asked for and cannot be imported.
        ConfigError: the module cannot be imported, has no such factory, or the factory does not
            say that it makes a network, does not take these sizes, or returns something else.
    """
    factory = _timm_factory(name) if name.startswith(_TIMM) else _factory(name)
    try:
        inspect.signature(factory).bind(**sizes)
    except TypeError as error:
        raise ConfigError(
            f"network {name} cannot be built with the sizes {dict(sizes)}: {error}; it takes "
            f"{inspect.signature(factory)}"
        ) from error
    network = factory(**sizes)
    if not isinstance(network, nn.Module):
        raise ConfigError(f"network {name} must be an nn.Module, got {type(network).__name__}")
    return network


def _factory(name: str) -> Callable[..., Any]:
    place, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(place)
    except ImportError as error:
        raise ConfigError(
            f"network {name}: the module {place!r} cannot be imported ({error}); install the "
            "package, or put the folder that holds it on PYTHONPATH"
        ) from error
    factory = getattr(module, attribute, None)
    if not _makes_network(factory):
        raise ConfigError(
            f"network {name}: {place!r} must hold {attribute!r}, a subclass of torch.nn.Module or "
            f"a function annotated to return one (def {attribute}(...) -> nn.Module), got "
            f"{factory!r:.80}"
        )
    return factory  # type: ignore[return-value]


def _makes_network(factory: object) -> bool:
    made: object = factory
    if inspect.isfunction(factory):
        try:
            made = get_type_hints(factory).get("return")
        except NameError:  # an annotation that stands only in the type checker's world
            return False
    return isinstance(made, type) and issubclass(made, nn.Module)


def _timm_factory(name: str) -> Callable[..., Any]:
    """Return timm's own function for a network, never its loader of weights from files or hubs."""
    try:
        models: Any = importlib.import_module("timm.models")
    except (ImportError, RuntimeError) as error:  # torchvision of another torch: RuntimeError
        raise MissingExtraError(
            f"network {name}: timm cannot be imported ({error}); run `pip install timm` beside a "
            "torchvision that was built for this torch"
        ) from error
    network = name.removeprefix(_TIMM)
    if not models.is_model(network):
        raise ConfigError(f"network {name}: timm has no model {network!r}; see timm.list_models()")
    entry = models.model_entrypoint(network)

    def factory(**sizes: Size) -> Any:
        fixed = sorted(sizes.keys() & set(_FIXED))
        if fixed:
            raise ConfigError(f"network {name}: {fixed} cannot be given; features are what is used")
        return entry(pretrained=False, num_classes=0, global_pool="", **sizes)

    return factory
