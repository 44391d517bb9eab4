"""The fake runtime bindings."""

from tests.fake_tensorrt.cuda import make

globals().update(vars(make()))
