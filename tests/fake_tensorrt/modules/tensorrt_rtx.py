"""The fake TensorRT of the version that HEADLIGHT_FAKE_TENSORRT names."""

import os

from tests.fake_tensorrt.module import make

made = make(os.environ["HEADLIGHT_FAKE_TENSORRT"])
if made.__name__ != __name__:
    raise ImportError(f"{__name__} is not installed")
globals().update(vars(made))
