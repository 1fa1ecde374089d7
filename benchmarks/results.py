"""results/bench/: what the benchmarks measured, and on what machine."""

import os
from collections.abc import Mapping
from pathlib import Path

import torch

from reproduce.config.run import RESULTS
from reproduce.utils.environment import commit, cores, device_name, versions
from reproduce.utils.files import write_json
from reproduce.utils.precision import instructions


def write_bench(name: str, device: torch.device, found: Mapping[str, object]) -> Path:
    """results/bench/<name>.json: what a benchmark measured, and on what machine. Speeds belong to no profile."""
    machine: dict[str, object] = {"device": device_name(device), "cpu": device_name(torch.device("cpu"))}
    machine |= {"instructions": instructions()}
    machine |= {"cores": cores(), "threads": torch.get_num_threads(), "versions": versions()}
    machine |= {"load_before": round(os.getloadavg()[2], 1), "commit": commit()[0]}  # of the last 15 minutes
    path = RESULTS / "bench" / f"{name}.json"
    write_json(path, {**machine, **found})
    return path
