"""What takes longer in bfloat16 on a CPU than it should, in training, computed otherwise.

oneDNN has fast kernels for most convolutions and their gradients, but not for these (ADRs 0036,
0037, 0039):

- ``depthwise``, the gradient of the picture where the stride is above 1, and that of the weights
  where the kernel is wider than 3: plain loops, 20 to 100 times as long as the convolution;
- many channels on a small map, the gradient of the weights: up to 9 times as long as the product
  of two matrices. Where the channels are so many that the weights do not stay in the processor's
  cache, the convolution itself and the gradient of the picture are slower than such a product,
  too, where the processor has AMX (``products``);
- 1x1, which is a product of matrices as it stands: up to ten times as long, on all but large maps.

And torch gives the gradient of a mean over places to a picture whose channels are last in memory as
one whose channels are first, so that adding other gradients to it jumps through memory (``means``).
"""

from .mode import FastKernels

__all__ = ["FastKernels"]
