"""Small images and folders in the layout of ImageNet."""

import io
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from reproduce.data.imagenet.datamodule import ImageNetDataModule

CHANNELS = {"normalize": "channels", "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.2)}


def module(cache: Path, /, **given: Any) -> ImageNetDataModule:
    """A set-up DataModule of small crops."""
    values: dict[str, Any] = {"source": "synthetic", "root": "", "batch_size": 8, "seed": 1, "iterations": 100}
    values |= {"test_every": 10, "crop": 32, "shorter_side": (36, 60), "test_side": 40, "cache": cache}
    data = ImageNetDataModule(**(values | given))
    data.setup()
    return data


def smooth(height: int, width: int, seed: int = 0) -> Tensor:
    """A picture-like image [3, h, w]: noise at several scales."""
    generator = torch.Generator().manual_seed(seed)
    parts = [torch.rand(1, 3, n, n, generator=generator) * 255 for n in (4, 16)]
    total = sum(F.interpolate(part, (height, width), mode="bicubic") for part in parts)
    return (torch.as_tensor(total)[0] / 2).clamp(0, 255).to(torch.uint8)


def jpeg(image: Tensor, mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    pil(image).convert(mode).save(file, "JPEG", **({"quality": 90} | options))
    return file.getvalue()


def small_tree(root: Path, train: int = 3, val: int = 2, classes: int = 2) -> Path:
    """root/{train,val}/<wnid>/*.JPEG of 40x50 pixels."""
    for split, count in (("train", train), ("val", val)):
        for label in range(classes):
            folder = root / split / f"n{label:08d}"
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{folder.name}_{number}.JPEG").write_bytes(jpeg(smooth(40, 50, 10 * label + number)))
    return root


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def pil(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
