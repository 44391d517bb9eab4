"""TFLite graphs for tests: a network converted once, and what compress decides about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from compress.quantize.decisions import Decisions
from runtime.arrays import Logits
from runtime.scores import OperatingPoint
from runtime.session import SessionOptions
from runtime.session_onnx import OnnxSession
from runtime.session_tflite import TfliteSession
from tests.slimming import SCHEMA, SPEC, random_crops
from tests.unit.train.backbones.tiny import TINY
from train.backbones.layers import InvertedResidual, MixedDepthwise, conv_norm
from train.checkpoint import Checkpoint, save_checkpoint
from train.network import Network, NetworkConfig, build

CROPS = random_crops(24).numpy()
OWN = f"{__name__}:Parts"


class Parts(nn.Module):
    """What the larger backbones are made of, once each, so that converting it takes seconds."""

    def __init__(self) -> None:
        super().__init__()
        spatial = MixedDepthwise(24, (3, 7), "hardswish", (1, 1))
        single = MixedDepthwise(24, (5,), "relu6", (2, 2))
        self.layers = nn.Sequential(
            *conv_norm(3, 8, 3, "relu", stride=2),
            nn.MaxPool2d(3, 2, 1),
            InvertedResidual(8, 24, 8, (1, 1), spatial, "hardswish", squeezed=8),
            InvertedResidual(8, 24, 16, (2, 2), single, "relu6", project_groups=2),
            *conv_norm(16, 16, 3, "relu6", groups=4),
        )

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.layers(image)
        return features


def config(backbone: str) -> NetworkConfig:
    return NetworkConfig(backbone=backbone, sizes=TINY.get(backbone, {}))


def network_of(backbone: str) -> Network:
    """A tiny network whose BatchNorms know the crops, so that its logits differ between them."""
    torch.manual_seed(0)
    network = build(SCHEMA, SPEC, config(backbone))
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.uniform_(layer.weight, 0.5, 1.5)
                nn.init.normal_(layer.bias, std=0.3)
        for linear in network.heads.layers().values():
            nn.init.normal_(linear.weight)
        for _ in range(30):
            network.train()(torch.from_numpy(CROPS))
    return network.eval()


def quantised(folder: Path, backbone: str) -> Checkpoint:
    """A checkpoint of ``network_of`` a backbone, all of whose layers were decided INT8."""
    network = network_of(backbone)
    decisions = Decisions.measure(network, SCHEMA, SPEC, CROPS)
    graph = folder / "decided.onnx"
    onnx.save(decisions.graph(decisions.names), graph)
    return save_checkpoint(
        folder / "checkpoint",
        network,
        schema=SCHEMA,
        spec=SPEC,
        config=config(backbone),
        slimmed=False,
        operating=OperatingPoint(),
        metrics={},
        lineage={},
        extra_files={"int8.onnx": graph},
    )


def session(folder: Path, content: bytes, **options: Any) -> TfliteSession:
    path = folder / "model.tflite"
    path.write_bytes(content)
    return TfliteSession(path, SCHEMA, SPEC, SessionOptions(), **options)


def logits(network: Network) -> Logits:
    with torch.no_grad():
        return {name: part.numpy() for name, part in network(torch.from_numpy(CROPS)).items()}


def decided_logits(checkpoint: Checkpoint) -> Logits:
    """What ONNX Runtime makes of the checkpoint's Q/DQ graph."""
    return OnnxSession(checkpoint.graph, SCHEMA, SPEC, SessionOptions()).run(CROPS)


def signal_to_noise_db(expected: Logits, found: Logits) -> float:
    signal = sum(float((values**2).sum()) for values in expected.values())
    noise = sum(float(((values - found[name]) ** 2).sum()) for name, values in expected.items())
    return float(10 * np.log10(signal / max(noise, 1e-12)))
