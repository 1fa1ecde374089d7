"""The nets of the paper layer by layer, counted from the nets themselves (Table 1, Figs. 2, 3 and 5); no training.

`python -m reproduce architectures` writes results/architectures.json, which the report reads without torch.
"""

import json
from itertools import groupby
from typing import Any

import torch
from torch import nn

from reproduce.config.run import RESULTS
from reproduce.models import complexity, layers, resnet
from reproduce.utils.files import write_bytes

FILE = RESULTS / "architectures.json"
SIZES = {"imagenet": 224, "cifar": 32, "vgg": 224}  # side of the input image
# Run id -> stem, depth, shortcut. Plain-50 is footnote 4's bottleneck net without shortcuts.
IMAGENET = {f"imagenet-plain-{depth}": ("imagenet", depth, "none") for depth in (18, 34, 50)}
IMAGENET |= {
    f"imagenet-resnet-{depth}-{option}": ("imagenet", depth, option)
    for depth, options in ((18, "A"), (34, "ABC"))
    for option in options
}
IMAGENET |= {f"imagenet-resnet-{depth}": ("imagenet", depth, "B") for depth in (50, 101, 152)}
CIFAR = {f"cifar10-plain-{depth}": ("cifar", depth, "none") for depth in (20, 32, 44, 56, 110)}
CIFAR |= {f"cifar10-resnet-{depth}": ("cifar", depth, "A") for depth in (20, 32, 44, 56, 110, 1202)}
VGG = {f"vgg-{depth}": ("vgg", depth, "none") for depth in (16, 19)}
NETS = IMAGENET | CIFAR | VGG
COUNTED = (nn.Conv2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.Linear)


def build(stem: str, depth: int, shortcut: str) -> nn.Module:
    """A net without numbers in its weights, on the meta device; VGG is torchvision's."""
    with torch.device("meta"):
        if stem == "vgg":
            from torchvision import models

            return {16: models.vgg16, 19: models.vgg19}[depth](weights=None, init_weights=False)
        classes = 1000 if stem == "imagenet" else 10
        return resnet.build(stem=stem, depth=depth, shortcut=shortcut, classes=classes)


def shapes(net: nn.Module, size: int) -> dict[nn.Module, tuple[int, int, int]]:
    """(channels in, channels out, side of the output map) of each layer, from one forward pass."""
    seen: dict[nn.Module, tuple[int, int, int]] = {}

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        seen[module] = (inputs[0].shape[1], output.shape[1], output.shape[-1] if output.dim() == 4 else 1)

    hooks = [module.register_forward_hook(note) for module in net.modules() if isinstance(module, COUNTED)]
    with torch.no_grad():
        net.eval()(torch.zeros(1, 3, size, size, device="meta"))
    for hook in hooks:
        hook.remove()
    return seen


def layer(module: nn.Module, shape: tuple[int, int, int]) -> dict[str, Any]:
    """kind, filters and output side; kernel and stride where the layer has them."""
    _, filters, side = shape
    where: dict[str, Any] = {"filters": filters, "output": side}
    if isinstance(module, nn.Conv2d):
        return {"kind": "conv", "kernel": module.kernel_size[0], "stride": module.stride[0], **where}
    if isinstance(module, nn.MaxPool2d):
        return {"kind": "max pool", "kernel": module.kernel_size, "stride": module.stride, **where}
    return {"kind": "fc" if isinstance(module, nn.Linear) else "average pool", **where}


def shortcut(block: nn.Module, seen: dict[nn.Module, tuple[int, int, int]]) -> dict[str, Any] | None:
    """kind (identity, zero-padding, projection) and whether the dimensions increase; None in a plain net."""
    module = block.get_submodule("shortcut") if block.shortcut is not None else None
    if module is None:
        return None
    names = {nn.Identity: "identity", layers.ZeroPadding: "zero-padding", nn.Sequential: "projection"}
    convolutions = [m for name, m in block.named_children() if isinstance(m, nn.Conv2d)]
    channels_in, channels_out = seen[convolutions[0]][0], seen[convolutions[-1]][1]
    return {"kind": names[type(module)], "increase": channels_in != channels_out}


def stage(name: str, blocks: nn.Module, seen: dict[nn.Module, tuple[int, int, int]]) -> list[dict[str, Any]]:
    """The blocks of conv<n>_x; neighbours that are alike stand once, with how many they are."""
    described = [
        {
            "shortcut": shortcut(block, seen),
            "layers": [layer(m, seen[m]) for m in block.children() if isinstance(m, COUNTED)],
        }
        for block in blocks.children()
    ]
    return [{"name": name, "times": len(list(alike)), **part} for part, alike in groupby(described)]


def parts(net: nn.Module, size: int) -> list[dict[str, Any]]:
    """The net in order: name as in Table 1, times, shortcut, layers."""
    seen = shapes(net, size)
    found: list[dict[str, Any]] = []
    for name, module in net.named_children():
        if name.endswith("_x"):
            found += stage(name, module, seen)
            continue
        for leaf in (m for m in module.modules() if m in seen):
            if not keeps_its_input(leaf):
                found.append({"name": name, "times": 1, "shortcut": None, "layers": [layer(leaf, seen[leaf])]})
    return found


def keeps_its_input(module: nn.Module) -> bool:
    """torchvision's VGG pools to 7x7 what is 7x7 already at 224x224: no layer of the paper's."""
    return isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size not in (1, (1, 1))


def describe(stem: str, depth: int, option: str) -> dict[str, Any]:
    """One net: what Table 1 and "# params" of Table 6 count, and its parts."""
    net, size = build(stem, depth, option), SIZES[stem]
    return {
        "shortcut": option,
        "input": size,
        "layers": complexity.layers(net),
        "parameters": complexity.parameters(net),
        "multiply_adds": complexity.multiply_adds(net, size),
        "parts": parts(net, size),
    }


def text() -> str:
    """The file: JSON, one part of a net a line."""
    nets = []
    for name, values in NETS.items():
        facts = describe(*values)
        lines = ",\n".join(f"    {json.dumps(part)}" for part in facts.pop("parts"))
        nets.append(f'  "{name}": {json.dumps(facts)[:-1]}, "parts": [\n{lines}\n  ]}}')
    return "{\n" + ",\n".join(nets) + "\n}\n"


def write() -> str:
    """Writes results/architectures.json; returns a line for each net."""
    content = text()
    write_bytes(FILE, content.encode())
    facts = json.loads(content)
    row = "{:24} {:>5} layers {:>12,} parameters {:>7.3f} x 10^9 multiply-adds"
    lines = [row.format(n, f["layers"], f["parameters"], f["multiply_adds"] / 1e9) for n, f in facts.items()]
    return "\n".join([*lines, f"written: {FILE}"])
