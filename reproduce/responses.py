"""Layer responses (Fig. 7): the standard deviation of each 3x3 layer's output, after BN, before ReLU or addition."""

from pathlib import Path

import torch
from torch import Tensor, nn

from reproduce.build import device_of, set_threads
from reproduce.config import Run
from reproduce.evaluate import final_weights, load_net, open_data
from reproduce.measure import Batches
from reproduce.nets.residual import response_layers
from reproduce.precision import computing
from reproduce.record import RESULTS, write_csv


class _Moments:
    """Count, sum and sum of squares of everything a layer puts out."""

    def __init__(self) -> None:
        self.n, self.total, self.squares = 0, 0.0, 0.0

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        values = output.double()
        self.n += values.numel()
        self.total += float(values.sum())
        self.squares += float(values.square().sum())

    @property
    def std(self) -> float:
        mean = self.total / self.n
        return float(max(self.squares / self.n - mean * mean, 0.0) ** 0.5)


@torch.inference_mode()
def standard_deviations(net: nn.Module, batches: Batches) -> list[float]:
    """One number per 3x3 layer, in layer order: over all units, positions and images of `batches`.

    The paper states neither data nor BN mode: here the test images, and BN as at test time.
    """
    net.eval()
    moments = [_Moments() for _ in response_layers(net)]
    handles = [bn.register_forward_hook(m) for (_, bn), m in zip(response_layers(net), moments, strict=True)]
    for images, _ in batches:
        with computing("fp32", images.device):
            net(images)
    for handle in handles:
        handle.remove()
    return [m.std for m in moments]


def responses(run: Run, weights: Path | None = None) -> list[float]:
    """Measure a run's layer responses and keep them as results/.../responses.csv (layer 1.., std)."""
    set_threads(run.config)
    net, run = load_net(run, weights or final_weights(run))
    device = device_of(run.config)
    net = net.to(device)
    values = standard_deviations(net, open_data(run).test_batches(device))
    if weights is None:
        rows = [{"layer": layer, "std": f"{value:.6f}"} for layer, value in enumerate(values, 1)]
        write_csv(RESULTS / run.folder / "responses.csv", ("layer", "std"), rows)
    return values
