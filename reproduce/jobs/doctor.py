"""Is this machine fit for training? One line per finding.

Lightning is judged by its version and never imported: two of its releases do harm on import.
"""

import importlib
import os
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from reproduce.utils.errors import CURE

# What the suite was tested with (constraints.txt) and what it is written for.
SUPPORTED = {
    "torch": ">=2.10,<2.16",
    "torchvision": ">=0.25,<0.30",
    "lightning": ">=2.6.6,<2.7",
    "omegaconf": ">=2.3,<3",
}
MALICIOUS = {"lightning": ("2.6.2", "2.6.3")}  # releases that stole credentials on import
PYTHON = (3, 10)

# CIFAR-10 and its archive take 0.4 GB, the checkpoints of all CIFAR runs about 1 GB (ResNet-1202 alone 0.3 GB).
DISK_NEEDED, DISK_COMFORTABLE = 1.0, 3.0  # GB

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis: what is, and for a warning or an error the cure."""

    level: Level
    text: str

    def __str__(self) -> str:
        return f"{self.level:8}{self.text}"


def version(package: str) -> str | None:
    """The installed version, read without importing the package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def requirement(package: str, of: str) -> SpecifierSet | None:
    """What `package` demands of another package, e.g. torchvision 0.25 of torch: ==2.10.0."""
    found = [Requirement(line) for line in metadata.requires(package) or []]
    return next((r.specifier for r in found if r.name == of), None)


def load(package: str) -> ModuleType | str:
    """The imported package, or in one line why it cannot be imported."""
    try:
        return importlib.import_module(package)
    except Exception as error:  # a broken build raises what it likes (RuntimeError, OSError, AttributeError ...)
        return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def python() -> Finding:
    text = f"Python {sys.version.split()[0]}"
    if sys.version_info >= PYTHON:
        return Finding("ok", text)
    return Finding("error", f"{text}: {PYTHON[0]}.{PYTHON[1]} or newer is needed")


def package(name: str) -> Finding:
    """Installed, not a release known to be malicious, and within the range this suite is written for."""
    found = version(name)
    if found is None:
        return Finding("error", f"{name} is not installed: {CURE}")
    if found in MALICIOUS.get(name, ()):
        return Finding("error", f"{name} {found} steals credentials on import: remove it, renew your keys, then {CURE}")
    if not SpecifierSet(SUPPORTED[name]).contains(found, prereleases=True):
        return Finding("error", f"{name} {found} is outside the tested range {SUPPORTED[name]}: {CURE}")
    return Finding("ok", f"{name} {found}")


def pair() -> Finding | None:
    """torch and torchvision must be of one release and one build; pip sees the release only. None if one is missing."""
    torch, vision = version("torch"), version("torchvision")
    if torch is None or vision is None:
        return None
    both = f"torch {torch} and torchvision {vision}"
    cure = "reinstall both at once, from one index"
    needed = requirement("torchvision", of="torch")
    if needed is not None and not needed.contains(torch, prereleases=True):
        return Finding("error", f"{both} do not fit (it needs torch {needed}): {cure}")
    if (builds := {Version(torch).local, Version(vision).local} - {None}) and len(builds) > 1:
        return Finding("error", f"{both} are different builds: {cure}")
    if isinstance(reason := load("torchvision"), str):
        return Finding("error", f"{both} do not work together ({reason}): {cure}")
    return Finding("ok", f"{both} work together")


def wandb() -> Finding:
    found = version("wandb")
    absent = "wandb is not installed (optional; WANDB=offline and WANDB=online need it)"
    return Finding("ok", f"wandb {found}" if found else absent)


def has_driver() -> bool:
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def device(wanted: str | None = None) -> Finding:
    """Where trainings will run. `wanted`: "cuda" or "gpu" makes the lack of a usable GPU an error."""
    asked = (wanted or "").split(":")[0] in ("cuda", "gpu")
    torch = load("torch")
    if isinstance(torch, str):
        return Finding("error", f"torch cannot be imported ({torch}): {CURE}")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        bf16 = "native" if native else "emulated, hence slow: PRECISION=fp32"
        return Finding("ok", f"{len(names)} GPU: {', '.join(names)}; bf16 {bf16}")
    if asked:
        return Finding("error", f"CUDA was asked for, but {_why_no_cuda(torch)}")
    if has_driver():
        cause = _why_no_cuda(torch)
        return Finding("warning", f"there is an NVIDIA driver, but {cause}; trainings will run on the CPU")
    return cpu()


def _why_no_cuda(torch: ModuleType) -> str:
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is a build without CUDA: install a CUDA build of torch and torchvision"
    if not has_driver():
        return "this machine has no NVIDIA driver: install it, or leave the device to the suite"
    cause = f"its driver may be too old for CUDA {torch.version.cuda}, or CUDA_VISIBLE_DEVICES hides it"
    return f"torch {torch.__version__} finds no usable GPU: {cause}"


def cpu() -> Finding:
    """The cores, and what the processor has for a training: AVX-512, AMX, bf16."""
    from reproduce.utils.environment import cores
    from reproduce.utils.precision import has_bf16, instructions

    threads = os.environ.get("OMP_NUM_THREADS")
    text = f"no GPU; {cores()} CPU cores, {instructions()}"
    text += "" if has_bf16() else ", no bf16: what is configured in bf16 is computed in fp32"
    if threads and threads.isdigit() and int(threads) > cores():
        return Finding("warning", f"{text}; OMP_NUM_THREADS={threads} is more than there are cores: unset it")
    return Finding("ok", text + (f", OMP_NUM_THREADS={threads}" if threads else ""))


def disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free / 1e9
    text = f"{free:.1f} GB free for data and checkpoints in {folder}"
    if free < DISK_NEEDED:
        return Finding("error", f"{text}: {DISK_NEEDED:g} GB are needed")
    if free < DISK_COMFORTABLE:
        return Finding("warning", f"{text}: all CIFAR-10 runs together take up to {DISK_COMFORTABLE:g} GB")
    return Finding("ok", text)


def diagnose(wanted: str | None = None, folder: Path = Path()) -> list[Finding]:
    """Every finding, in the order of repair. `wanted`: the device asked for; `folder`: where runs/ will be."""
    findings = [python(), *map(package, SUPPORTED), pair(), device(wanted), wandb(), disk(folder.resolve())]
    return [finding for finding in findings if finding is not None]


def report(findings: list[Finding]) -> int:
    """Print one line per finding. Returns the exit code: 2 when there is an error."""
    print("\n".join(map(str, findings)))
    return 2 if any(finding.level == "error" for finding in findings) else 0


def main(device: str | None = None) -> int:
    return report(diagnose(device))
