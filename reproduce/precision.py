"""In which precision a net computes: fp32, tf32 (float32 with TensorFloat-32 products) or bf16 (autocast)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}


def set_precision(precision: str) -> None:
    """fp32 means fp32: TensorFloat-32 only when it is asked for (PyTorch's convolutions would use it unasked)."""
    _allow_tf32(precision == "tf32", precision == "tf32")


@contextmanager
def computing(precision: str, device: torch.device) -> Iterator[None]:
    """What is computed inside is computed in `precision`, whatever holds outside; afterwards that holds again."""
    outside = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    set_precision(precision)
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=DTYPES[precision] is torch.bfloat16):
            yield
    finally:
        _allow_tf32(*outside)


def _allow_tf32(convolutions: bool, products: bool) -> None:
    torch.backends.cudnn.allow_tf32 = convolutions
    torch.backends.cuda.matmul.allow_tf32 = products
