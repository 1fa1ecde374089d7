"""`python -m reproduce` in float64: `python -m tests.in_double train ...` computes all that is otherwise fp32 in it.

What is equal in mathematics can then be held to a bound near float64's rounding on any processor: in fp32 some kernels
sum in an order that depends on the number of images, and a training multiplies the difference.
"""

import sys

import torch

from reproduce.__main__ import main

torch.set_default_dtype(torch.float64)
torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]  # pixels and scores become floats by this

if __name__ == "__main__":
    sys.exit(main())
