"""What depends on a processor's arithmetic holds on an older one, too: those tests run again, as AVX2 computes."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.helpers.processors import as_avx2

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2") or not torch.cpu._is_avx2_supported(),
    reason="this processor, as it is, computes with AVX2 or is no x86",
)
def test_what_depends_on_arithmetic_holds_with_avx2() -> None:
    words = ["-m", "pytest", "-m", "arithmetic and not slow and not gpu", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=as_avx2(), capture_output=True, text=True, timeout=600
    )
    last = done.stdout.strip().splitlines()[-1]
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in last
