"""What backbones cost: parameters, multiply-accumulates, and measured latency, as one page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import torch

from benchmarks.arguments import POSITIONAL
from benchmarks.command import say
from benchmarks.environment import environment
from benchmarks.report import Rows, markdown_table
from benchmarks.scenarios import Comparison, Query, compare_interleaved
from runtime.errors import EngineUnavailableError, MissingExtraError
from runtime.preprocess import InputSpec
from runtime.schema import Schema, load_schema
from runtime.session import Session
from runtime.staging import scratch_folder
from train.cost import CostModel, count_parameters
from train.engines import one_thread, open_graph_file, run_eager
from train.graph import write_graph
from train.network import Network, NetworkConfig, build, channel_plan

from . import BACKBONES
from .sizes import sizes_words

__all__ = ["TableConfig", "make_page"]

PROG: Final = "python -m train.backbones"
EAGER: Final = "torch"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableConfig:
    """List backbones with their sizes, what they cost, and how long one crop takes here."""

    backbones: Annotated[tuple[str, ...], POSITIONAL] = ()
    """Names, also package.module:factory or timm:NAME; all built-in ones where none is given."""
    imgsz: tuple[int, int] = (48, 144)
    """Height and width of the input, px."""
    schema: str = "cn-plate"
    """Built-in schema or JSON file, for the heads."""
    pool: str = "columns"
    """How the heads look at the features, as --network.pool."""
    latency: bool = True
    """Measure latency; takes minutes."""
    rounds: int = 40
    """Turns that each network gets."""
    output: Path | None = None
    """File to write the page to, as well."""


def make_page(config: TableConfig) -> str:
    """Return the page as Markdown.

    Raises:
        HeadlightError: an unknown backbone or schema, or an input that is too small.
    """
    schema = load_schema(config.schema)
    spec = InputSpec(height=config.imgsz[0], width=config.imgsz[1])
    networks = {}
    for name in config.backbones or BACKBONES:
        torch.manual_seed(0)
        chosen = NetworkConfig(backbone=name, pool=config.pool)
        networks[name] = build(schema, spec, chosen).eval()
    timed = _time(networks, schema, spec, config.rounds) if config.latency else None
    rows = [
        {**_cost_row(name, network, spec), **_latency_cells(name, timed)}
        for name, network in networks.items()
    ]
    return _page(config, rows, timed)


def _cost_row(name: str, network: Network, spec: InputSpec) -> Mapping[str, str]:
    model, plan = CostModel.of(network, spec), channel_plan(network)
    with torch.inference_mode():
        features = network.backbone(torch.zeros(1, 3, spec.height, spec.width))
    heads = count_parameters(network.heads)
    return {
        "backbone": name,
        "parameters": f"{count_parameters(network) - heads:,}",
        "of the heads": f"{heads:,}",
        "MACs": f"{model.macs(plan) / 1e6:,.1f} M",
        "features": " x ".join(map(str, features.shape[1:])),
    }


# ---- latency ----------------------------------------------------------------------------------


def _time(
    networks: Mapping[str, Network], schema: Schema, spec: InputSpec, rounds: int
) -> Comparison:
    """Time all networks in all engines that are installed, by turns: one crop, one thread."""
    image = np.random.default_rng(0).integers(0, 256, (1, *spec.shape)).astype(np.uint8)
    queries: dict[str, Query] = {}
    with ExitStack() as stack:
        stack.enter_context(one_thread())
        scratch = stack.enter_context(scratch_folder())
        for index, (name, network) in enumerate(networks.items()):
            queries[_key(name, EAGER)] = partial(run_eager, network, torch.from_numpy(image))
            graph = scratch / f"{index}.onnx"
            for engine, session in _sessions(network, schema, spec, graph).items():
                stack.callback(session.close)
                queries[_key(name, engine)] = partial(session.run, image)
        return compare_interleaved(queries, rounds=rounds)


def _key(name: str, engine: str) -> str:
    return f"{name} in {engine}"


def _sessions(
    network: Network, schema: Schema, spec: InputSpec, graph: Path
) -> Mapping[str, Session]:
    """Return engine name to session, for those whose packages are installed."""
    try:
        write_graph(network, schema, spec, graph)
    except MissingExtraError as error:
        say(f"torch only: {error}")
        return {}
    openers: Mapping[str, Callable[[], Session]] = {
        "ONNX Runtime": partial(open_graph_file, "onnxruntime", graph, schema, spec, "fp32"),
        "OpenVINO": partial(open_graph_file, "openvino", graph, schema, spec, "fp32"),
    }
    opened = {engine: _opened(engine, opener) for engine, opener in openers.items()}
    return {engine: session for engine, session in opened.items() if session is not None}


def _opened(engine: str, opener: Callable[[], Session]) -> Session | None:
    try:
        return opener()
    except EngineUnavailableError as error:
        say(f"without {engine}: {error}")
        return None


def _latency_cells(name: str, timed: Comparison | None) -> Mapping[str, str]:
    if timed is None:
        return {}
    medians = timed.medians_ms
    return {
        f"{engine}, ms": f"{medians[key]:.2f}"
        for engine in (EAGER, "ONNX Runtime", "OpenVINO")
        if (key := _key(name, engine)) in medians
    }


# ---- the page ---------------------------------------------------------------------------------


def _page(config: TableConfig, rows: Rows, timed: Comparison | None) -> str:
    names = config.backbones or tuple(BACKBONES)
    sizes = [
        {
            "backbone": name,
            "sizes and defaults": " ".join(sizes_words(NetworkConfig(backbone=name).sizes)),
        }
        for name in names
    ]
    parts = [
        "# Backbones",
        f"Made by `{_command(config)}` on {date.today().isoformat()}.",
        markdown_table(rows).rstrip(),
        f"One {config.imgsz[0]}x{config.imgsz[1]} px crop; heads of `{config.schema}` on "
        f"`{config.pool}`. Parameters are the backbone's; MACs are those of the whole network: "
        "multiply-accumulates of convolutions and linear layers. Features are channels x height x "
        "width.",
        *(_conditions(timed) if timed else ()),
        "## Sizes",
        "All can be set: `python -m train.fit RECIPE --network NAME --network.sizes "
        "stem_stride=1 last_stride=2,2 ...`. What is not given has the default. `stem_stride` is "
        "the first of five strides, `fourth_stride` and `last_stride` are the last two, vertical "
        "and horizontal.",
        markdown_table(sizes).rstrip(),
    ]
    return "\n\n".join(parts) + "\n"


def _command(config: TableConfig) -> str:
    """Return the command that makes this page; options at their defaults are left out."""
    words: list[str] = [PROG, *config.backbones]
    options: Sequence[tuple[str, object, object]] = (
        ("--imgsz", f"{config.imgsz[0]} {config.imgsz[1]}", "48 144"),
        ("--schema", config.schema, "cn-plate"),
        ("--pool", config.pool, "columns"),
        ("--rounds", config.rounds, 40),
        ("--output", config.output, None),
    )
    words += [f"{flag} {value}" for flag, value, default in options if value != default]
    return " ".join(words if config.latency else [*words, "--no-latency"])


def _conditions(timed: Comparison) -> tuple[str, ...]:
    found = environment()
    device, packages = found["device"], found["packages"]
    versions = ", ".join(
        f"{name} {packages[name]}"
        for name in ("torch", "onnxruntime", "openvino")
        if name in packages
    )
    others = timed.noise.other_cores
    used = "unknown" if others is None else f"{others:.2f}"
    noisy = " **NOISY: measure again on a quiet machine.**" if timed.noise.noisy else ""
    return (
        f"Latency: {device['cpu']}, {device['arch']}, one thread, FP32, batch 1, median of "
        f"{len(next(iter(timed.blocks_ms.values())))} turns of all networks in one process, "
        f"normalisation and heads included. {versions}. Cores used by others meanwhile: "
        f"{used}.{noisy}",
    )
