"""Layer responses (Fig. 7): the standard deviation of each 3x3 layer's output, after BN, before ReLU or addition."""

from pathlib import Path

import torch
from torch import Tensor, nn

from reproduce.config.device import set_threads
from reproduce.config.run import Run
from reproduce.evaluation.classification import as_tested, changed, final_weights, load_net, open_data, suffix
from reproduce.metrics.classification import Batches
from reproduce.utils.files import write_csv
from reproduce.utils.precision import computing


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
    """Measure a run's layer responses, in fp32, and keep them as results/.../responses.csv (layer 1.., std).

    With other BN statistics than the run's own they are kept beside it, as an evaluation is.
    """
    set_threads(run.config)
    net, run = load_net(run, weights or final_weights(run))
    device = run.device
    data = open_data(run)
    net = as_tested(run, net.to(device), device, data)
    values = standard_deviations(net, data.test_batches(device))
    if weights is None:
        deviations = changed(run, lambda config: {"bn_statistics": config.eval.bn_statistics})
        write_responses(run.results / f"responses{suffix(deviations)}.csv", values)
    return values


def write_responses(path: Path, values: list[float]) -> None:
    """A CSV file of layer (1, 2, ...) and std."""
    rows = [{"layer": layer, "std": f"{value:.6f}"} for layer, value in enumerate(values, 1)]
    write_csv(path, ("layer", "std"), rows)


def response_layers(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """(name, BN) of each 3x3 layer in order, without projections: the BN's output is the layer's response (Fig. 7)."""
    modules = dict(net.named_modules())
    layers = []
    for name, module in modules.items():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            stage, _, conv = name.rpartition("conv")
            layers.append((name, modules[f"{stage}bn{conv}"]))
    return layers
