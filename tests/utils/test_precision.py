"""bf16 is computed in bf16 where the device has it, in fp32 on a CPU that has not; results say which it was."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from reproduce.config.load import resolve
from reproduce.data.synthetic.cifar10 import read_synthetic
from reproduce.models.resnet import build
from reproduce.training.results import provenance
from reproduce.utils import precision
from reproduce.utils.environment import processor
from reproduce.utils.precision import autocast, computed, has_bf16, instructions
from tests.helpers.processors import as_avx2

ROOT = Path(__file__).resolve().parents[2]


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


@pytest.mark.arithmetic
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


@pytest.mark.arithmetic
@pytest.mark.parametrize("here", [True, False])
def test_a_result_says_what_was_computed(here: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda: here)
    run = resolve("cifar10-resnet-20", "demo")
    found = provenance(run, data={}, device=torch.device("cpu"), processes=1, code=(None, False))
    assert found["config"]["train"]["precision"] == "bf16"
    assert found["precision"] == ("bf16" if here else "fp32")
    assert found["processor"] == processor() == {"model": processor()["model"], "instructions": instructions()}
    assert ("bf16" in instructions()) is here


def gradients(kind: str) -> list[torch.Tensor]:
    """Of ResNet-56 at its initial weights, for 32 synthetic images: one a tensor of weights."""
    images = read_synthetic().train_images[:32].double()
    net, x, y = (
        build(name="cifar-resnet", depth=56, shortcut="A").train(),
        images - images.mean(0),
        torch.arange(32) % 10,
    )
    net, x = (net.double(), x) if kind == "float64" else (net, x.float())
    with torch.autocast("cpu", torch.bfloat16, enabled=kind == "bf16"):
        scores = net(x)
    F.cross_entropy(scores if kind == "float64" else scores.float(), y).backward()
    return [weight.grad.double() for weight in net.parameters() if weight.grad is not None]


def test_what_is_shown_is_not_computed_in_bf16() -> None:
    """A deep net's first gradients: bf16 loses a good part of them. So `short` and `short-folder` are fp32."""
    exact = gradients("float64")
    off = {
        kind: float(
            torch.tensor([(g - e).norm() / e.norm() for g, e in zip(gradients(kind), exact, strict=True)]).median()
        )
        for kind in ("bf16", "fp32")
    }
    assert off["fp32"] < 0.01 < 0.1 < off["bf16"]
    for profile in ("paper", "folder", "short", "short-folder"):
        config = resolve("cifar10-resnet-56", profile).config
        assert (config.train.precision, config.eval.precision) == ("fp32", "fp32")


@pytest.mark.skipif(not torch.cpu._is_avx2_supported(), reason="plays an AVX2 processor, which this one cannot")
def test_an_older_processor_can_be_played() -> None:
    """The two variables turn bf16 off, so that every machine can test what a stranger's does."""
    code = "from reproduce.utils.precision import *; print(has_bf16(), instructions(), computed('bf16', 'cpu'))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=as_avx2(), capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "AVX2", "fp32"]
