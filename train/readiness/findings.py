"""What can be wrong with a graph for TensorRT, and which versions there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

__all__ = ["RULES", "TARGETS", "Finding", "Rule", "Target"]

Target = Literal["8.6", "10.3", "10.13", "10.16", "11.4", "rtx"]
"""A version of TensorRT, or TensorRT-RTX 1.7."""

TARGETS: Final[Mapping[str, int]] = {
    "8.6": 17,
    "10.3": 20,
    "10.13": 20,
    "10.16": 24,
    "11.4": 24,
    "rtx": 24,
}
"""Version to the newest opset that its parser is documented for (onnx-tensorrt's operators.md of
8.5, 10.0, 10.15 and 11.2; a version between two of these has the older one's)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that a graph must (R) or should (W) keep."""

    title: str
    advice: str
    """What to do about it."""


RULES: Final[Mapping[str, Rule]] = {
    "R01": Rule(
        "operator that TensorRT's parser rejects",
        "write quantisation as QuantizeLinear and DequantizeLinear; replace other operators",
    ),
    "R02": Rule("zero point other than 0", "quantise activations and weights symmetrically"),
    "R03": Rule(
        "zero point that is not INT8",
        "quantise to signed INT8; a UINT8 grid with zero point 0 becomes one by scale * 255 / 127",
    ),
    "R04": Rule("bias as INT32 behind a DequantizeLinear", "keep biases in float"),
    "R05": Rule("a scale per channel on an activation", "give an activation one scale"),
    "R06": Rule(
        "weight scales that do not lie along the output channels",
        "quantise weights along their output channels",
    ),
    "R07": Rule("scale that is no constant above 0", "store scales as finite constants above 0"),
    "R08": Rule("QuantizeLinear and DequantizeLinear of other scales", "use one scale for a pair"),
    "R09": Rule(
        "operator outside the ONNX standard", "export without fusing optimisations or own operators"
    ),
    "R10": Rule("BatchNormalization in training mode", "export the network in evaluation mode"),
    "R11": Rule(
        "opset newer than the target knows", "export at an older opset, or choose a newer target"
    ),
    "R12": Rule(
        "tensor of a type that TensorRT has not",
        "use floats, INT32 or bool; take UINT8 only into a Cast to float",
    ),
    "R13": Rule(
        "a layer's input and weight in different float types",
        "give activation and weight scales the same float type",
    ),
    "W01": Rule("a free size other than the batch", "fix all sizes but the batch"),
    "W02": Rule(
        "both sides of a residual Add quantised",
        "quantise the shortcut only, so that convolution and Add become one kernel",
    ),
    "W03": Rule(
        "quantised between a layer and its activation function",
        "quantise behind the activation function, so that both become one kernel",
    ),
    "W04": Rule("BatchNormalization in a quantised graph", "fold it before quantising"),
    "W05": Rule("denormal scale", "calibrate again: a range this small is no range"),
    "W06": Rule(
        "quantised weight, float activation", "quantise the layer's input as well, or neither"
    ),
}
"""Rule to what it is about. R: the parser rejects the graph or reads something else than is
meant; W: it runs, but slower or less exactly than it could."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One place where a graph breaks a rule."""

    rule: str
    node: str
    """The node or input."""
    what: str
    """What is there."""

    @property
    def breaks(self) -> bool:
        """Whether the graph must not go to TensorRT."""
        return self.rule.startswith("R")

    @property
    def advice(self) -> str:
        """What to do."""
        return RULES[self.rule].advice

    def __str__(self) -> str:
        return f"{self.rule} {self.node}: {self.what}; {self.advice}"

    def to_object(self) -> Mapping[str, Any]:
        """Return plain JSON values."""
        return {
            "rule": self.rule,
            "level": "error" if self.breaks else "warning",
            "node": self.node,
            "what": self.what,
            "advice": self.advice,
        }
