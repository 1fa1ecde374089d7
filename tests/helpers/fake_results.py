"""Writes result trees as a training would leave them, with numbers made up by numpy: for the tests of the report."""

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np

# run: (depth, training error, test error) in percent, close to the paper's
PAPER_LIKE = {
    "cifar10-plain-20": (20, 1.40, 9.70),
    "cifar10-plain-32": (32, 1.20, 10.10),
    "cifar10-plain-44": (44, 2.60, 11.35),
    "cifar10-plain-56": (56, 5.80, 13.30),
    "cifar10-plain-110": (110, 84.00, 83.00),
    "cifar10-resnet-20": (20, 0.65, 8.80),
    "cifar10-resnet-32": (32, 0.25, 7.60),
    "cifar10-resnet-44": (44, 0.12, 7.10),
    "cifar10-resnet-56": (56, 0.06, 7.00),
    "cifar10-resnet-110": (110, 0.04, 6.60),
    "cifar10-resnet-1202": (1202, 0.03, 7.95),
    "cifar10-resnet-110-no-warmup": (110, 0.05, 6.70),
}
PARAMETERS = {20: 269722, 32: 464154, 44: 658586, 56: 853018, 110: 1727962, 1202: 19421274}


def provenance(run: str, profile: str, iterations: int, **changes: Any) -> dict[str, Any]:
    official = profile == "paper"
    data: dict[str, Any] = {"source": "official" if official else "synthetic", "fingerprint": "sha256:" + "ab" * 32}
    data |= {"description": "CIFAR-10, official binaries" if official else "synthetic images made by the suite"}
    data |= {"official": official, "n_train": 50000, "n_test": 10000}
    values: dict[str, Any] = {
        "config": {"train": {"iterations": iterations, "batch_size": 128}},
        "recipe_hash": "0123456789abcdef",
        "command": f"python -m reproduce train {run} --profile {profile}",
        "commit": "f" * 40,
        "dirty": False,
        "versions": {"python": "3.11.2", "torch": "2.15.0", "lightning": "2.6.6", "torchvision": "0.29.2"},
        "device": "CPU (two cores)",
        "precision": "fp32" if official else "bf16",
        "threads": 2,
        "processes": 1,
        "bn_group": "device",
        "data": data,
        "start": "2026-01-02T03:04:05+00:00",
        "end": "2026-01-02T05:04:05+00:00",
        "hours": 2.0,
        "resumed": 0,
    }
    return values | changes


def write_run(
    root: Path,
    profile: str,
    run: str,
    seed: int = 0,
    train: float = 1.0,
    test: float = 9.0,
    iterations: int = 64000,
    best_validation: Any = None,
    **changes: Any,
) -> Path:
    """One finished training under <root>/<profile>/<run>/seed-<k>/; `changes` go into the provenance."""
    depth = int(run.split("-")[2])
    folder = root / profile / run / f"seed-{seed}"
    folder.mkdir(parents=True)
    result = {"run": run, "seed": seed, "profile": profile, "iterations": iterations, "layers": depth}
    result |= {"parameters": PARAMETERS[depth], "multiply_adds": 40551040, "n_test": 10000, "weights_sha256": "00"}
    result |= {"metrics": {"train_error": train, "test_error": test}}
    result |= {"warmup_iterations": 400 if run == "cifar10-resnet-110" else None}
    result |= {"best_validation": best_validation} if best_validation is not None else {}
    result |= {"provenance": provenance(run, profile, iterations, **changes)}
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "curve.csv").write_text(curve(depth + 1000 * seed, train, test, iterations))
    (folder / "responses.csv").write_text(responses(depth, "plain" in run))
    return folder


def curve(key: int, train: float, test: float, iterations: int) -> str:
    """A curve with the paper's two drops that ends at the given errors; 64 points."""
    random = np.random.default_rng(key)
    points = min(64, iterations)
    lines = ["iteration,lr,train_loss,train_error,test_error"]
    for i in range(1, points + 1):
        t = i / points
        high = 60 * np.exp(-8 * t) + (9 if t <= 0.5 else 1.5 if t <= 0.75 else 0) * (1 if train < 50 else 0)
        noise = (random.normal(0, 0.2), random.normal(0, 1.5 if t <= 0.5 else 0.1))
        errors = [float(np.clip(end + high + n, 0, 100)) for end, n in zip((train, test), noise, strict=True)]
        errors = [train, test] if i == points else errors
        rate = 0.1 if t <= 0.5 else 0.01 if t <= 0.75 else 0.001
        lines.append(f"{round(iterations * t)},{rate},{errors[0] / 30:.5f},{errors[0]:.4f},{errors[1]:.4f}")
    return "\n".join(lines) + "\n"


def responses(depth: int, plain: bool) -> str:
    layers = depth - 1
    random = np.random.default_rng(depth)
    base = 1.9 if plain else 1.6 - 0.3 * np.log10(depth / 10)
    stds = np.clip(base + random.normal(0, 0.25, layers), 0.6, 3.4)
    stds[0] = 2.3 + 0.01 * depth if layers > 19 else 2.2
    return "layer,std\n" + "".join(f"{i},{value:.6f}\n" for i, value in enumerate(stds, 1))


def write_tree(root: Path, profile: str = "paper", runs: list[str] | None = None, iterations: int = 64000) -> Path:
    """Every CIFAR run of the paper (or the named ones); ResNet-110 with five seeds, best 6.43."""
    for run in runs or list(PAPER_LIKE):
        _, train, test = PAPER_LIKE[run]
        tests = [6.43, 6.60, 6.80, 6.55, 6.70] if run == "cifar10-resnet-110" and profile == "paper" else [test]
        for seed, value in enumerate(tests):
            write_run(root, profile, run, seed, train, value, iterations)
    return root


def write_seeds(root: Path, run: str, values: list[float], metric: str = "test", **changes: Any) -> None:
    """A run of profile paper for each value of one error."""
    for seed, value in enumerate(values):
        error: dict[str, Any] = {metric: value}
        write_run(root, "paper", run, seed, **error, **changes)


def sample(n: int, mean: float, std: float) -> list[float]:
    """n values with exactly this mean and sample standard deviation."""
    raw = [k - (n - 1) / 2 for k in range(n)]
    return [mean + value * std / statistics.stdev(raw) for value in raw]


def write_published(
    root: Path, publisher: str, run: str, test: float, train: float = 0.1, source: str = "folder", layers: int = 0
) -> Path:
    """A published CIFAR-10 net as `python -m reproduce published` leaves it; claimed is what is measured."""
    name = f"{publisher}-{run.removeprefix('cifar10-')}"
    data = provenance(run, "paper" if source == "official" else "folder", 64000)["data"]
    value: dict[str, Any] = {"name": name, "run": run, "publisher": publisher, "home": f"example.org/{publisher}"}
    value |= {"recipe": "trained elsewhere", "claim": "the lowest of all epochs", "claimed": test, "protocol": "single"}
    value |= {"n": 10000, "top1_error": test, "train_error": train, "sides": [32], "precision": "fp32"}
    value |= {"bn_statistics": "moving", "deviations": {}, "data": data, "weights_sha256": "cd" * 32}
    folder = root / "published" / source / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "eval-single.json").write_text(json.dumps(value))
    if layers:
        rows = "".join(f"{layer},{2 - layer / layers}\n" for layer in range(1, layers + 1))
        (folder / "responses.csv").write_text("layer,std\n" + rows)
    return folder
