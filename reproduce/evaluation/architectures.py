"""The nets of the paper layer by layer, counted from the nets themselves (Table 1, Figs. 2, 3 and 5); no training.

`python -m reproduce architectures` writes results/architectures.json, which the report reads without torch.
"""

import json
from itertools import groupby
from typing import Any

import torch
from torch import nn
from torchvision import models

from reproduce.config.load import resolve, runs
from reproduce.config.run import RESULTS
from reproduce.models import complexity, layers
from reproduce.models.build import build_net
from reproduce.utils.console import table
from reproduce.utils.files import write_bytes

FILE = RESULTS / "architectures.json"
VGG = {"vgg-16": models.vgg16, "vgg-19": models.vgg19}  # beside ours in Fig. 3 and Table 1's text; no run trains them
COUNTED = (nn.Conv2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.Linear)


def nets() -> list[str]:
    """The first run of each net, that is, of each data set, depth and shortcut, and the nets that no run trains."""
    keys = {name: (run["recipe"], run["model"]["depth"], run["model"]["shortcut"]) for name, run in runs().items()}
    first = {key: name for name, key in reversed(keys.items())}
    return [name for name, key in keys.items() if first[key] == name] + list(VGG)


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
    if block.shortcut is None:
        return None
    names: dict[type, str] = {nn.Identity: "identity", layers.ZeroPadding: "zero-padding", nn.Sequential: "projection"}
    convolutions = [m for m in block.children() if isinstance(m, nn.Conv2d)]
    channels_in, channels_out = seen[convolutions[0]][0], seen[convolutions[-1]][1]
    return {"kind": names[type(block.shortcut)], "increase": channels_in != channels_out}


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


def describe(name: str) -> dict[str, Any]:
    """One net: what Table 1 and "# params" of Table 6 count, and its parts. It is built without numbers."""
    with torch.device("meta"):
        if name in VGG:
            net, size, option = VGG[name](weights=None, init_weights=False), 224, "none"
        else:
            config = resolve(name, overrides=["execution.devices=1"]).config
            net, size, option = build_net(config), config.data.paper_size, config.model.shortcut
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
    found = []
    for name in nets():
        facts = describe(name)
        lines = ",\n".join(f"    {json.dumps(part)}" for part in facts.pop("parts"))
        found.append(f'  "{name}": {json.dumps(facts)[:-1]}, "parts": [\n{lines}\n  ]}}')
    return "{\n" + ",\n".join(found) + "\n}\n"


def write() -> str:
    """Writes results/architectures.json; returns a table of the nets."""
    content = text()
    write_bytes(FILE, content.encode())
    head = "net", "layers", "parameters", "10^9 multiply-adds"
    rows = [
        [name, str(net["layers"]), f"{net['parameters']:,}", f"{net['multiply_adds'] / 1e9:.3f}"]
        for name, net in json.loads(content).items()
    ]
    return f"{table(rows, head, right=(1, 2, 3))}\nwritten: {FILE}"
