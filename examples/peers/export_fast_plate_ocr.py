"""fast-plate-ocr's own exporter: ``python export_fast_plate_ocr.py --model best.keras ...``.

Run it in the environment of fast-plate-ocr, with the options of ``fast-plate-ocr export``. Since
TensorFlow 2.20 a GELU is written with erfc, which ONNX lacks and tf2onnx 1.17 does not translate;
here it becomes 1 - erf. The exporter then compares the ONNX file with the network, as ever.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from fast_plate_ocr.cli.export import export  # type: ignore[import-not-found]
from tf2onnx.handler import tf_op  # type: ignore[import-not-found]


@tf_op("Erfc")
class Erfc:
    """The complementary error function, 1 - erf(x)."""

    @classmethod
    def version_9(cls, graph: Any, node: Any, **_: Any) -> None:
        """Replace ``node`` in place; ONNX has Erf since opset 9."""
        node.type = "Erf"
        one = graph.make_const(f"{node.name}/one", np.array(1, np.float32)).output[0]
        negative = graph.insert_new_node_on_output(
            "Neg", node.output[0], name=f"{node.name}/negative"
        ).output[0]
        graph.insert_new_node_on_output(
            "Add", negative, name=f"{node.name}/complement", inputs=[negative, one]
        )


if __name__ == "__main__":
    export()
