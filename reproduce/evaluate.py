"""A checkpoint -> its error on every test image, each counted once (single view, Sec. 4.2)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from reproduce.config import Run
from reproduce.data.cifar10 import Cifar10
from reproduce.errors import UserError
from reproduce.measure import count_errors
from reproduce.nets import published
from reproduce.record import RESULTS, RUNS, say, weights_sha256, write_json
from reproduce.train import build_data, build_net, on_gpu, recomputed_error, set_precision, set_threads


def final_weights(run: Run) -> Path:
    """The weights that training left. Errors: UserError with the command that makes them."""
    path = RUNS / run.folder / "final.safetensors"
    if not path.is_file():
        raise UserError(f"{path}: no trained weights yet; `{run.command()}` makes them, or give --weights FILE")
    return path


def load_net(run: Run, weights: Path) -> tuple[nn.Module, Run]:
    """The run's net with the weights of a file, ours or published; for akamaster's layout with its zero-padding."""
    layout, state = published.read_state(weights)
    if layout == "akamaster" and run.config.net.zero_padding != "both":
        say(f"{weights}: akamaster's layout: net.zero_padding set to `both`, as its shortcuts pad")
        config = replace(run.config, net=replace(run.config.net, zero_padding="both"))
        run = replace(run, config=config)
    net = build_net(run.config)
    published.load_state(net, layout, state, weights)
    return net, run


def open_data(run: Run) -> Cifar10:
    data = build_data(run.config)
    data.prepare_data()
    data.setup("test")
    return data


def evaluate(run: Run, weights: Path | None = None, protocol: str = "single") -> dict[str, Any]:
    """Test error (percent, unrounded) of a run's final weights, or of a file. Only the former is kept under results/.

    Errors: UserError for weights that do not fit or data that is not there.
    """
    if protocol != "single":
        raise UserError(
            f"--protocol {protocol}: CIFAR-10 is tested by the `single` view of the original image (Sec. 4.2)"
        )
    set_threads(run.config)
    set_precision(run.config.eval.precision)
    path = weights or final_weights(run)
    net, shown = load_net(run, path)
    device = torch.device("cuda" if on_gpu(run.config) else "cpu")
    net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    digest = weights_sha256(net.state_dict())
    data = open_data(shown)
    result = _measure(shown, net, data, device) | {"weights_sha256": digest}
    if weights is None:
        recomputed = run.config.eval.bn_statistics == "recomputed"
        write_json(RESULTS / run.folder / f"eval-{protocol}{'+recomputed' if recomputed else ''}.json", result)
    return result


def _measure(run: Run, net: nn.Module, data: Cifar10, device: torch.device) -> dict[str, Any]:
    e = run.config.eval
    if e.bn_statistics == "recomputed":
        error, n = recomputed_error(run, net, data, device), data.n_test
    else:
        errors, n = count_errors(net, data.test_batches(device), e.precision)
        error = 100 * errors / n
    return {
        "run": run.name,
        "protocol": "single",
        "n": n,
        "top1_error": error,
        "precision": e.precision,
        "bn_statistics": e.bn_statistics,
        "data": {"description": data.description, "fingerprint": data.fingerprint},
    }
