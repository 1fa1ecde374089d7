"""Reads weights strictly: our own files, and the layouts of torchvision, akamaster and a-martyn."""

import hashlib
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from reproduce.utils.errors import UserError

STAGES = tuple((f"layer{stage}.", f"conv{stage + 1}_x.") for stage in (1, 2, 3, 4))
BLOCKS = 200  # of a stage, at most: ResNet-1202 has as many
LAYOUTS: dict[str, tuple[tuple[str, str], ...]] = {
    # layout -> (part of a key there, part of the key here): where it begins with a dot anywhere, else at the beginning
    "ours": (),
    "torchvision": (*STAGES, (".downsample.0.", ".shortcut.conv."), (".downsample.1.", ".shortcut.bn.")),
    "akamaster": (*STAGES, (".shortcut.0.", ".shortcut.conv."), (".shortcut.1.", ".shortcut.bn."), ("linear.", "fc.")),
    "a-martyn": (
        *(("convIn.", "conv1."), ("bnIn.", "bn1."), ("stack1.", "conv2_x."), ("fcOut.", "fc.")),
        *((f"stack{stage}a.", f"conv{stage + 1}_x.0.") for stage in (2, 3)),
        *((f"stack{s}b.{k}.", f"conv{s + 1}_x.{k + 1}.") for s in (2, 3) for k in range(BLOCKS - 1)),
    ),
}
ENVELOPE = {"state_dict", "best_prec1", "epoch"}  # what akamaster's trainer saves around the weights
COUNTER = "num_batches_tracked"  # of every BN since torch 0.4.1; here it counts only while BN=recomputed averages


def to_ours(key: str, layout: str) -> str:
    """A key of the layout in our words: layer1.0.downsample.0.weight -> conv2_x.0.shortcut.conv.weight."""
    return _renamed(key, LAYOUTS[layout])


def to_theirs(key: str, layout: str) -> str:
    """The way back, for messages that name keys as the file does."""
    return _renamed(key, tuple((ours, theirs) for theirs, ours in LAYOUTS[layout]))


def _renamed(key: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for old, new in pairs:
        if old.startswith("."):
            key = key.replace(old, new)
        elif key.startswith(old):
            key = new + key.removeprefix(old)
    return key


def detect_layout(state: Iterable[str], source: str | Path = "these weights") -> str:
    """ours, torchvision (layer1, fc), akamaster (layer1, linear) or a-martyn (convIn); UserError where it is none."""
    keys = set(state)
    if any(key.startswith("conv2_x.") for key in keys):
        return "ours"
    if "convIn.weight" in keys:
        return "a-martyn"
    if any(key.startswith("layer1.") for key in keys):
        for layout, weight in (("akamaster", "linear.weight"), ("torchvision", "fc.weight")):
            if weight in keys:
                return layout
    first = min(keys, default=None)
    raise UserError(f"{source}: keys of no layout known here ({', '.join(LAYOUTS)}); the first is {first}")


def _unpickle(path: Path) -> object:
    if not path.is_file():
        raise UserError(f"{path}: {'a folder, not a file' if path.is_dir() else 'no such file'}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles that it then refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the readers raise nearly anything
        reason = (str(error).splitlines() or [""])[0].split(". ")[0]
        raise UserError(f"{path}: damaged, or holds more than tensors ({type(error).__name__}: {reason})") from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    content = _unpickle(path)
    if isinstance(content, Mapping) and "state_dict" in content:
        for key in content.keys() - ENVELOPE:
            raise UserError(f"{path}: unexpected key {key!r} beside state_dict")
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: holds a {type(content).__name__}, not a dictionary of tensors")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise UserError(f"{path}: {key!r} is a {type(value).__name__}, not a named tensor")
        if value.layout != torch.strided or not (value.is_floating_point() or key.endswith(COUNTER)):
            raise UserError(f"{path}: {key} holds {value.dtype} ({value.layout}), not plain floating-point values")
    return dict(content)


def read_state(path: str | Path) -> tuple[str, dict[str, Tensor]]:
    """(layout, tensors under our names) of a .safetensors or torch-saved file; no code in it is run.

    A net for the akamaster layout is built with zero_padding="both". UserError names the file and the key.
    """
    path = Path(path)
    tensors = read_tensors(path)
    if tensors and all(key.startswith("module.") for key in tensors):  # saved from DataParallel
        tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    layout = detect_layout(tensors, path)
    for key in tensors:
        if to_theirs(to_ours(key, layout), layout) != key:
            raise UserError(f"{path}: {key} is no key of the {layout} layout that the others are in")
    return layout, {to_ours(key, layout): value for key, value in tensors.items()}


def load_state(net: nn.Module, layout: str, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Fills `net` with `read_state(path)`; UserError, and the net untouched, where a key or shape differs.

    Files older than BN's counter of batches may lack it, in all layers; nothing else may be missing or left over.
    """
    wanted = dict(net.state_dict())
    if not any(key.endswith(COUNTER) for key in state):
        wanted = {key: value for key, value in wanted.items() if not key.endswith(COUNTER)}
    for key in state:
        if key not in wanted:
            raise UserError(f"{path}: unexpected key {to_theirs(key, layout)}; is the net of this depth and shortcut?")
    for key, value in wanted.items():
        name = to_theirs(key, layout)
        if key not in state:
            raise UserError(f"{path}: {name} is missing; is the file of this depth and shortcut?")
        if state[key].shape != value.shape:
            raise UserError(f"{path}: {name} has shape {list(state[key].shape)}, the net needs {list(value.shape)}")
    with torch.no_grad():
        for key, value in wanted.items():
            value.copy_(state[key])


def load_weights(net: nn.Module, path: str | Path) -> str:
    """Fills `net` from a file as `load_state` does; returns the file's layout, a key of LAYOUTS."""
    layout, state = read_state(path)
    load_state(net, layout, state, path)
    return layout


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of the weights: tensor bytes in state-dict order."""
    total = hashlib.sha256()
    for tensor in state.values():
        total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()
