"""Writes ImageNet results as trainings, published weights and ensembles leave them, with numbers made up."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.helpers.fake_results import provenance

LENGTH = 600000
SIDES = {"10-crop": [256], "multi-scale": [224, 256, 384, 480, 640]}
# run: training error, validation error (centre crop), its plateau before the second drop;
# then top-1 and top-5 of the 10-crop and of the multi-scale test
PAPER_LIKE: dict[str, tuple[float, float, float, tuple[float, float], tuple[float, float]]] = {
    "imagenet-plain-18": (31.0, 31.4, 36.7, (27.94, 9.50), (26.0, 8.5)),
    "imagenet-plain-34": (32.75, 32.5, 38.6, (28.54, 10.02), (26.5, 8.8)),
    "imagenet-plain-34-3x": (32.0, 32.0, 38.0, (28.5, 9.9), (26.4, 8.7)),
    "imagenet-plain-50": (36.0, 35.0, 41.0, (31.0, 11.5), (29.0, 10.2)),
    "imagenet-resnet-18-A": (30.0, 31.1, 35.5, (27.88, 9.40), (25.9, 8.4)),
    "imagenet-resnet-34-A": (25.0, 28.3, 32.5, (25.03, 7.76), (22.5, 6.0)),
    "imagenet-resnet-34-B": (24.5, 27.8, 32.0, (24.52, 7.46), (21.84, 5.71)),
    "imagenet-resnet-34-C": (24.0, 27.5, 31.8, (24.19, 7.40), (21.53, 5.60)),
    "imagenet-resnet-50": (20.0, 24.7, 30.0, (22.85, 6.71), (20.74, 5.25)),
    "imagenet-resnet-101": (17.0, 23.6, 29.0, (21.75, 6.05), (19.87, 4.60)),
    "imagenet-resnet-152": (16.0, 23.0, 28.0, (21.43, 5.71), (19.38, 4.49)),
}


def imagenet_data(official: bool) -> dict[str, Any]:
    """`data` of a provenance: the official set, or the embedded one."""
    words = "ImageNet-2012, official class tree" if official else "ImageNet-shaped images made by the suite"
    data = {"source": "official" if official else "synthetic", "fingerprint": f"sha256:{'cd' if official else 'ef'}"}
    return {**data, "description": words, "official": official, "n_train": 1281167, "n_test": 50000}


def write_run(root: Path, profile: str, run: str, seed: int = 0, share: float = 1.0, **changes: Any) -> Path:
    """A finished training of `share` of the paper's length with two evaluations; `changes` go into the provenance."""
    train, test, plateau, *tests = PAPER_LIKE[run]
    iterations = round(share * LENGTH * (3 if run.endswith("3x") else 1))
    folder = root / profile / run / f"seed-{seed}"
    folder.mkdir(parents=True)
    config = {"train": {"iterations": iterations, "batch_size": 256}}
    found = provenance(run, profile, iterations, config=config, data=imagenet_data(profile == "paper"), processes=8)
    metrics = {"train_error": train, "test_error": test, "top1_error": test, "top5_error": test / 3}
    result = {"run": run, "seed": seed, "profile": profile, "iterations": iterations, "parameters": 11515688}
    found |= changes
    result |= {"metrics": metrics, "weights_sha256": "ab", "provenance": found}
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "curve.csv").write_text(curve(train, test, plateau, iterations))
    for protocol, (top1, top5) in zip(("10-crop", "multi-scale"), tests, strict=True):
        value = {"run": run, "protocol": protocol, "n": 50000, "top1_error": top1, "top5_error": top5}
        value |= conditions(protocol, found["data"]) | {"weights_sha256": "ab"}
        (folder / f"eval-{protocol}.json").write_text(json.dumps(value))
    return folder


def conditions(protocol: str, data: dict[str, Any]) -> dict[str, Any]:
    """How a test was made, as its file says: as the paper tests."""
    given = {key: data[key] for key in ("description", "fingerprint", "official")}
    return {"sides": SIDES[protocol], "precision": "fp32", "bn_statistics": "moving", "deviations": {}, "data": given}


def curve(train: float, test: float, plateau: float, iterations: int) -> str:
    """120 points with Figure 4's two drops, of which those before the second have the given plateau."""
    random = np.random.default_rng(round(100 * test))
    lines = ["iteration,lr,train_loss,train_error,test_error,train_top5_error,test_top5_error"]
    for i in range(1, 121):
        t = i / 120
        level = 50 + 40 * np.exp(-20 * t) if t <= 0.25 else plateau if t <= 0.5 else test
        noise = 0 if t > 0.25 else random.normal(0, 1)
        errors = [level + (train - test) + noise, level + noise]
        lines.append(f"{round(iterations * t)},0.1,2.0,{errors[0]:.4f},{errors[1]:.4f},,{errors[1] / 3:.4f}")
    return "\n".join(lines) + "\n"


def write_tree(root: Path, profile: str = "paper", share: float = 1.0) -> Path:
    for run in PAPER_LIKE:
        write_run(root, profile, run, share=share)
    return root


def write_published(root: Path, name: str, protocol: str, top1: float, top5: float, n: int = 50000) -> Path:
    """Torchvision's weights, evaluated by one protocol on n images."""
    value = {"weights": name, "net": "resnet-50, stride 3x3, option B", "protocol": protocol, "n": n}
    value |= {"top1_error": top1, "top5_error": top5, "recipe": "v1.5, another recipe"}
    value |= conditions(protocol, imagenet_data(True))
    return _write(root / "published" / "official" / name / f"eval-{protocol}.json", value)


def write_ensemble(root: Path, profile: str, name: str, members: list[str], top5: float) -> Path:
    value = {"members": members, "protocol": "multi-scale", "n": 50000, "top1_error": 3 * top5, "top5_error": top5}
    value |= conditions("multi-scale", imagenet_data(profile == "paper"))
    return _write(root / profile / "ensembles" / name / "eval-multi-scale.json", value)


def _write(path: Path, value: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path
