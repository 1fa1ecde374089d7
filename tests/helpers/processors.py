"""An older processor, played by a newer one: what a stranger's machine computes can be tested here."""

import os

AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}  # no AVX-512, no AMX, no bf16


def as_avx2() -> dict[str, str]:
    """The environment of a process that is to compute as an x86 processor with AVX2 and nothing newer does."""
    return os.environ | AVX2
