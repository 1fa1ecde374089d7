"""bf16 is computed in bf16 where the device has it, in fp32 on a CPU that has not; results say which it was."""

import subprocess
import sys

import pytest
import torch

from reproduce import precision
from reproduce.config import resolve
from reproduce.precision import autocast, computed, has_bf16, instructions
from reproduce.record import processor, provenance
from tests.processors import as_avx2


@pytest.mark.parametrize(
    ("machine", "onednn", "avx512", "amx", "expected"),
    [
        ("x86_64", True, False, False, False),  # AVX-512 without bf16: emulated
        ("x86_64", True, True, False, True),
        ("AMD64", True, False, True, True),
        ("x86_64", False, True, True, False),  # ONEDNN_MAX_CPU_ISA forbids it
        ("aarch64", True, False, False, True),
        ("aarch64", False, False, False, False),
    ],
)
def test_has_bf16(
    machine: str, onednn: bool, avx512: bool, amx: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert has_bf16() is expected


@pytest.mark.parametrize("here", [True, False])
def test_bf16_on_a_cpu_without_it_is_fp32(here: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda: here)
    assert computed("bf16", "cpu") == ("bf16" if here else "fp32")
    assert computed("bf16", "cuda:1") == "bf16"
    assert [computed("tf32", device) for device in ("cpu", "cuda")] == ["fp32", "tf32"]
    x = torch.randn(4, 4)
    with autocast("bf16", "cpu"):
        assert (x @ x).dtype == (torch.bfloat16 if here else torch.float32)
    with autocast("fp32", "cpu"):
        assert (x @ x).dtype == torch.float32


@pytest.mark.parametrize("here", [True, False])
def test_a_result_says_what_was_computed(here: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda: here)
    run = resolve("cifar10-resnet-20", "demo")
    found = provenance(run, data={}, device=torch.device("cpu"), processes=1, code=(None, False))
    assert found["config"]["train"]["precision"] == "bf16"
    assert found["precision"] == ("bf16" if here else "fp32")
    assert found["processor"] == processor() == {"model": processor()["model"], "instructions": instructions()}
    assert ("bf16" in instructions()) is here


@pytest.mark.skipif(not torch.cpu._is_avx2_supported(), reason="plays an AVX2 processor, which this one cannot")
def test_an_older_processor_can_be_played() -> None:
    """The two variables turn bf16 off, so that every machine can test what a stranger's does."""
    code = "from reproduce.precision import *; print(has_bf16(), instructions(), computed('bf16', 'cpu'))"
    done = subprocess.run([sys.executable, "-c", code], env=as_avx2(), capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "AVX2", "fp32"]
