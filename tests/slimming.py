"""Tiny networks, checkpoints and labelled crops for tests of compression."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from runtime.preprocess import InputSpec
from runtime.schema import Head, HeadKind, Schema
from runtime.scores import OperatingPoint
from train.checkpoint import Checkpoint, save_checkpoint
from train.network import Network, NetworkConfig, build

SPEC = InputSpec(height=16, width=32)
COLOURS = {"blue": (200, 40, 40), "green": (40, 200, 40), "red": (40, 40, 200)}
SCHEMA = Schema(
    name="lamps",
    heads=(
        Head(name="colour", kind=HeadKind.CHOICE, labels=tuple(COLOURS)),
        Head(name="side", kind=HeadKind.CHOICE, labels=("left", "right")),
    ),
)


def tiny_config(pool: str = "columns", width: int = 16) -> NetworkConfig:
    return NetworkConfig(sizes={"width": width, "last_width": 2 * width}, pool=pool)


def tiny_network(pool: str = "columns", *, width: int = 16, seed: int = 0) -> Network:
    """A network whose every BatchNorm has its own random scales, shifts and statistics."""
    torch.manual_seed(seed)
    network = build(SCHEMA, SPEC, tiny_config(pool, width))
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.2, 1.5)
            nn.init.normal_(layer.bias, std=0.3)
            nn.init.normal_(layer.running_mean, std=0.3)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
    for linear in network.heads.layers().values():
        nn.init.normal_(linear.weight)
        nn.init.normal_(linear.bias)
    return network.eval()


def write_checkpoint(folder: Path, network: Network, config: NetworkConfig) -> Checkpoint:
    return save_checkpoint(
        folder,
        network,
        schema=SCHEMA,
        spec=SPEC,
        config=config,
        slimmed=False,
        operating=OperatingPoint(),
        metrics={},
        lineage={"fit": {}},
    )


def write_lamps(folder: Path, count: int, seed: int) -> Path:
    """Crops of a coloured lamp on the left or the right, with noise; returns the list."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    rows = []
    for index in range(count):
        colour, side = random.choice([*COLOURS]), random.choice(["left", "right"])
        image = random.integers(0, 60, (*SPEC.shape,)).astype(np.uint8)
        start = 3 if side == "left" else 19
        image[3:13, start : start + 10] = COLOURS[colour]
        cv2.imwrite(str(folder / f"{index}.png"), image)
        rows.append(f"{index}.png\t{colour},{side}\n")
    (folder / "labels.tsv").write_text("".join(rows), encoding="utf-8")
    return folder


def random_crops(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *SPEC.shape), dtype=torch.uint8, generator=generator)


def read_json(path: Path) -> object:
    return json.loads(path.read_text(encoding="utf-8"))
