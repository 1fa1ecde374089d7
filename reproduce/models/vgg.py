"""VGG-16 [41] as Faster R-CNN [32] uses it: thirteen convolutions shared by all regions, and fc6 and fc7 for each."""

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from reproduce.data.sampling import DROPOUT, hash32

FILTERS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # of conv1_x ... conv5_x
ROI_SIZE = 7  # side of a region's pooled map
Layers = OrderedDict[str, nn.Module]


class Dropout(nn.Module):
    """Dropout whose units are drawn by a hash of (key, layer, unit), never from a stream; the others are scaled.

    `key`: whole numbers that name one image's pass, such as (seed, iteration, position); set before each.
    """

    def __init__(self, rate: float, layer: int) -> None:
        super().__init__()
        self.rate, self.layer = rate, layer
        self.key: tuple[int, ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        """[regions, units] -> the same; in testing x itself."""
        if not self.training or not self.rate:
            return x
        units = torch.arange(x.numel(), device=x.device).view_as(x)
        kept = hash32(*self.key, self.layer, units, DROPOUT) >= int(self.rate * 2**32)
        return x * kept / (1 - self.rate)


def trunk() -> Layers:
    """conv1_1 to conv5_3: [1, 3, H, W] -> [1, 512, H / 16, W / 16], rounded up at each pooling as in Caffe."""
    layers, channels = Layers(), 3
    for stage, filters in enumerate(FILTERS, 1):
        for number, width in enumerate(filters, 1):
            layers[f"conv{stage}_{number}"] = nn.Conv2d(channels, width, 3, padding=1)
            layers[f"relu{stage}_{number}"] = nn.ReLU(inplace=True)
            channels = width
        layers[f"pool{stage}"] = nn.MaxPool2d(2, ceil_mode=True)
    layers.popitem()  # RoI pooling takes the place of the fifth max pooling
    return layers


def region(units: int = 4096, dropout: float = 0.5) -> Layers:
    """fc6 and fc7 with dropout: pooled regions [R, 512, 7, 7] -> [R, units]."""
    layers = Layers(flatten=nn.Flatten())
    for number, inputs in ((6, 512 * ROI_SIZE**2), (7, units)):
        layers[f"fc{number}"] = nn.Linear(inputs, units)
        layers[f"relu{number}"] = nn.ReLU(inplace=True)
        layers[f"drop{number}"] = Dropout(dropout, number)
    return layers


def from_torchvision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's VGG-16 weights under our names; its last layer, which tells ImageNet's classes, is left out."""
    with torch.device("meta"):  # only the names are needed, which torchvision numbers in the same order
        names = {f"features.{index}": name for index, name in enumerate(trunk())}
    names |= {"classifier.0": "fc6", "classifier.3": "fc7"}
    parts = [(key.rpartition("."), value) for key, value in state.items() if not key.startswith("classifier.6.")]
    return {f"{names.get(layer, layer)}.{kind}": value for (layer, _, kind), value in parts}
