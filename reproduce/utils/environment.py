"""What a result records of the machine and the code: commit, versions, processor, device. No torch until asked."""

import os
import platform
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PACKAGES = ("torch", "torchvision", "lightning", "omegaconf", "numpy")


def _git(*words: str) -> str | None:
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def commit() -> tuple[str | None, bool]:
    """The commit of this code, and whether reproduce/ or configs/ differ from it."""
    top = _git("rev-parse", "--show-toplevel")
    changed = _git("-C", top, "status", "--porcelain", "--", "reproduce", "configs") if top else None
    return _git("rev-parse", "HEAD"), bool(changed)


def repository() -> str | None:
    """The remote `origin` of this code, as git knows it; it may be a path, or hold a user's secret."""
    return _git("remote", "get-url", "origin")


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device_name(device: "torch.device") -> str:
    """The accelerator's own name, or `CPU (model)`."""
    if device.type != "cuda":
        return f"CPU ({cpu_model()})"
    import torch

    return torch.cuda.get_device_name(device)


def cpu_model() -> str:
    model = platform.processor() or platform.machine()
    with suppress(OSError):  # not Linux
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return model


def processor() -> dict[str, str]:
    """This machine's processor: its model, and the instruction set that torch uses on it."""
    from reproduce.utils.precision import instructions

    return {"model": cpu_model(), "instructions": instructions()}


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in packages}
