"""What fp32, tf32 and bf16 mean on the device at hand, in this one place, and what the processor has for them."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

X86 = ("x86_64", "AMD64")


def has_bf16() -> bool:
    """Whether this CPU multiplies bf16 by instructions of its own, in oneDNN as it is allowed to run.

    oneDNN's answer follows ONEDNN_MAX_CPU_ISA, but on x86 it is also True where AVX-512 would emulate bf16.
    """
    allowed = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)  # absent from builds without oneDNN
    if allowed is None or not allowed():
        return False
    if platform.machine() not in X86:
        return True
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def instructions() -> str:
    """The instruction set that torch uses here, as in "AVX512, bf16, AMX"."""
    amx = platform.machine() in X86 and has_bf16() and torch.cpu._is_amx_tile_supported()
    return ", ".join([torch.backends.cpu.get_cpu_capability(), *["bf16"] * has_bf16(), *["AMX"] * amx])


def computed(precision: str, device: torch.device | str) -> str:
    """The precision that `precision` is computed in: on a CPU bf16 without instructions for it is fp32.

    Emulated, bf16 is no faster there than fp32 and rounds more. Results record what was computed.
    """
    on_cpu = torch.device(device).type == "cpu"
    return "fp32" if on_cpu and (precision == "tf32" or precision == "bf16" and not has_bf16()) else precision


def autocast(precision: str, device: torch.device | str) -> torch.autocast:
    """The context of a forward pass in a precision: bf16 where it is computed in bf16, else as it is written."""
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=computed(precision, device) == "bf16")


def set_precision(precision: str) -> None:
    """fp32 means fp32: TensorFloat-32 only when it is asked for (PyTorch's convolutions would use it unasked)."""
    _allow_tf32(precision == "tf32", precision == "tf32")


@contextmanager
def computing(precision: str, device: torch.device) -> Iterator[None]:
    """What is computed inside is computed in `precision`, whatever holds outside; afterwards that holds again."""
    outside = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    set_precision(precision)
    try:
        with autocast(precision, device):
            yield
    finally:
        _allow_tf32(*outside)


def _allow_tf32(convolutions: bool, products: bool) -> None:
    torch.backends.cudnn.allow_tf32 = convolutions
    torch.backends.cuda.matmul.allow_tf32 = products
