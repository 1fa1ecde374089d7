"""What is written down of a run: result files, each whole or not at all, and the provenance of every number."""

import csv
import hashlib
import io
import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reproduce.config import RESULTS, Run
from reproduce.errors import UserError
from reproduce.precision import computed, instructions

PACKAGES = ("torch", "torchvision", "lightning", "omegaconf", "numpy")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: beside its target, flushed to disk, renamed, the folder flushed too.

    Errors: OSError naming the target and the bytes that did not go there (a full disk); what was there before stays.
    """
    beside = path.with_name(f".{path.name}.{_me()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with beside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
            _flush(path.parent)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror} ({len(content):,} bytes to be written)", str(path)) from error


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _me() -> str:
    return f"{os.getpid()}@{socket.gethostname()}"


def sweep(folder: Path) -> None:
    """Remove what writers that were killed left in a folder. Other machines' files are left for an hour."""
    for path in folder.glob(".*.tmp"):
        with suppress(OSError):
            if _is_leftover(path):
                path.unlink(missing_ok=True)


def _is_leftover(path: Path) -> bool:
    pid, _, host = path.name.removesuffix(".tmp").rpartition("@")
    number = pid.rpartition(".")[2]
    if host == socket.gethostname() and number.isdigit():
        return int(number) == os.getpid() or not is_alive(int(number))  # a container may deal out the same pid again
    return time.time() - path.stat().st_mtime > 3600


def is_alive(pid: int) -> bool:
    """Whether a process of this machine has that number (or belongs to someone else, who answers for it)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def write_json(path: Path, value: object) -> None:
    write_bytes(path, (json.dumps(value, indent=2, sort_keys=False, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """A result file, or None where there is none yet. Errors: UserError naming a file that is no JSON object."""
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a result file ({error}); move it away and run again") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a result file (no JSON object); move it away and run again")
    if not isinstance(value.get("provenance", {}), dict) or not isinstance(value.get("metrics", {}), dict):
        raise UserError(f"{path}: not a result file (provenance or metrics are no objects); move it away and run again")
    return value


def write_csv(path: Path, header: Iterable[str], rows: Iterable[Mapping[str, object]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(header), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of the weights: tensor bytes in state-dict order."""
    total = hashlib.sha256()
    for tensor in state.values():
        total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


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


def is_first_process() -> bool:
    """Whether this is the only process or the first of several, under Lightning's launcher, torchrun or SLURM."""
    if "RANK" in os.environ:  # torchrun
        return os.environ["RANK"] == "0"
    local, node = os.environ.get("LOCAL_RANK", "0"), os.environ.get("NODE_RANK", "0")
    return local == node == "0" and os.environ.get("SLURM_PROCID", "0") == "0"


def device_name(device: torch.device) -> str:
    """The accelerator's own name, or `CPU (model)`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU ({processor()['model']})"


def processor() -> dict[str, str]:
    """This machine's processor: its model, and the instruction set that torch uses on it."""
    model = platform.processor() or platform.machine()
    with suppress(OSError):  # not Linux
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return {"model": model, "instructions": instructions()}


def versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}


def write_bench(name: str, device: torch.device, found: Mapping[str, object]) -> Path:
    """results/bench/<name>.json: what a benchmark measured, and on what machine. Speeds belong to no profile."""
    machine: dict[str, object] = {"device": device_name(device), "cpu": device_name(torch.device("cpu"))}
    machine |= {"instructions": instructions()}
    machine |= {"cores": cores(), "threads": torch.get_num_threads(), "versions": versions()}
    machine |= {"load_before": round(os.getloadavg()[2], 1), "commit": commit()[0]}  # of the last 15 minutes
    path = RESULTS / "bench" / f"{name}.json"
    write_json(path, {**machine, **found})
    return path


def provenance(
    run: Run, *, data: Mapping[str, object], device: torch.device, processes: int, code: tuple[str | None, bool]
) -> dict[str, Any]:
    """Where a number comes from. No host or user name, no path of this machine, never sys.argv."""
    return {
        "config": run.shown(),
        "recipe_hash": run.recipe_hash,
        "command": run.command(),
        "overrides": run.shown_overrides,
        "commit": code[0],
        "dirty": code[1],
        "versions": versions(),
        "device": device_name(device),
        "processor": processor(),
        "precision": computed(run.config.train.precision, device),
        "test_precision": computed(run.config.eval.precision, device),
        "threads": torch.get_num_threads(),
        "processes": processes,
        "bn_group": run.config.model.bn_group,
        "data": dict(data),
    }


def say(line: str) -> None:
    """One line to the person at the terminal; the results themselves go to files."""
    with suppress(OSError):  # a terminal or pipe that has gone is no reason to stop
        print(line, file=sys.stderr, flush=True)
