"""Speed of ImageNet's training view, in images per second of one core, beside torchvision's reference pipeline.

Both go from files to one normalised float batch: ours through ImageNet.train_batch, the reference through PIL,
RandomResizedCrop, RandomHorizontalFlip, ToTensor, Normalize and the default collation. Beside them, the same view from
shards of pre-decoded images, a batch of 256: resized by the worker, and cut only, as for a GPU that resizes. All take
turns on the same images within one run, in CPU time of this process, so that what else the machine does counts little.
"""

import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
import torchvision.transforms as T
from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate

from benchmarks.baseline import MEAN, STD
from benchmarks.results import write_bench
from benchmarks.step import bare_loop, timed
from reproduce.config.load import resolve
from reproduce.data.imagenet.datamodule import CACHE, ImageNetDataModule
from reproduce.data.imagenet.write_shards import predecode
from reproduce.utils.console import log
from reproduce.utils.environment import cores
from reproduce.utils.errors import UserError

THRESHOLD = 1.8  # ours is to be at least so many times as fast
SENT, RESIZED, CUT = "ours, as a worker sends it", "from shards, resized by the worker", "from shards, cut for a GPU"
PER_CORE = {SENT: (800, 1000), CUT: (15_000, 50_000)}  # images/s: must and aim
SIDE = 480  # of the shards: the largest shorter side of the training view
SHARDED = 8  # times BATCH: from shards, the share of one device alone, whose images are soon made
ROUNDS = 31  # the first one warms up
BATCH = 32  # images per turn: the share of one of 8 devices
STEPS = {"cuda": (128, 20), "cpu": (4, 2)}  # images per step, timed steps
NETS = {18: "imagenet-resnet-18-A", 50: "imagenet-resnet-50"}  # timed from memory
SAFE: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # of older releases of Python 3.10 and 3.11
SUFFIXES = (".jpeg", ".jpg", ".png")

reference = T.Compose([T.RandomResizedCrop(224), T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize(MEAN, STD)])


@contextmanager
def opened(images: Path | None) -> Iterator[ImageNetDataModule]:
    """The paper's training view over a folder or tar of images, as one class, or over synthetic ones."""
    if images is None:
        yield _module("synthetic", "")
        return
    with tempfile.TemporaryDirectory() as scratch:
        found = _found(images, Path(scratch) / "unpacked")
        for split, paths in (("train", found), ("val", found[:1])):
            folder = Path(scratch) / split / "n00000000"
            folder.mkdir(parents=True)
            for number, path in enumerate(paths):
                (folder / f"{number}.JPEG").symlink_to(path.resolve())
        yield _module("folder", scratch, Path(scratch) / "cache")


def _found(images: Path, scratch: Path) -> list[Path]:
    """All images below a folder or in a tar. Raises UserError where there are none."""
    folder = images
    if images.is_file():
        try:
            with tarfile.open(images) as tar:
                tar.extractall(scratch, **SAFE)
        except (tarfile.TarError, OSError) as error:
            raise UserError(f"{images}: neither a folder nor a readable tar ({error})") from error
        folder = scratch
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise UserError(f"{images}: no images there; --images takes a folder or a tar of them")
    return found


def _module(source: str, root: str, cache: Path = CACHE, times: int = 1, **given: Any) -> ImageNetDataModule:
    size = times * BATCH
    data = ImageNetDataModule(source=source, root=root, batch_size=size, seed=0, iterations=10**6, cache=cache, **given)
    data.setup()
    return data


@contextmanager
def from_shards(data: ImageNetDataModule) -> Iterator[dict[str, ImageNetDataModule]]:
    """The same images pre-decoded, in a folder that is thrown away: resized by the worker, and cut only."""
    root = data.files["train"].folder.parent
    with tempfile.TemporaryDirectory() as folder:
        predecode(root, SIDE, Path(folder), 0)
        given: dict[str, Any] = {"predecoded": SIDE, "shards": Path(folder), "times": SHARDED}
        views = {name: {**given, "resize_on_device": name == CUT} for name in (RESIZED, CUT)}
        yield {name: _module(data.source, str(root), data.cache, **view) for name, view in views.items()}


def reference_batch(data: ImageNetDataModule, iteration: int) -> tuple[Tensor, Tensor]:
    """The images of an iteration as torchvision's training script would make them."""
    files = data.files["train"]
    index = data._order.indices(torch.tensor([iteration]), torch.arange(data.batch_size))[0].tolist()

    def one(i: int) -> tuple[Tensor, int]:
        with files.path(i).open("rb") as file:
            return reference(Image.open(file).convert("RGB")), int(files.labels[i])

    x, y = default_collate([one(i) for i in index])
    return x, y


def in_turns(data: ImageNetDataModule, stored: dict[str, ImageNetDataModule]) -> dict[str, list[float]]:
    """CPU seconds per image, one number a round."""
    on_gpu = torch.cuda.is_available()
    views: dict[str, Callable[[int], object]] = {
        "reference": lambda i: reference_batch(data, i),
        "ours": lambda i: data.train_batch(i),
        SENT: data.share(0, 1),
        **{name: replace(each.share(0, 1), pin=name == CUT and on_gpu) for name, each in stored.items()},
    }
    seconds: dict[str, list[float]] = {name: [] for name in views}
    for iteration in range(ROUNDS):
        for name, view in views.items():
            began = time.process_time()
            view(iteration)
            images = stored[name].batch_size if name in stored else data.batch_size
            seconds[name].append((time.process_time() - began) / images)
    return {name: times[1:] for name, times in seconds.items()}


def loader_only(data: ImageNetDataModule, workers: int) -> float:
    """Images per second of wall time that `workers` processes (threads where they cut) deliver, without their start."""
    batches = 40 if data.cut else 4
    data.workers, data.iterations, data.start_iteration = workers, 2 + batches * workers, 0
    items = iter(data.train_dataloader())
    next(items)
    began, n = time.perf_counter(), sum(len(item[1]) for item in items)
    return n / (time.perf_counter() - began)


def model_only(depth: int, device: torch.device) -> float:
    """Images per second of a training step from memory: bf16 and channels_last on a GPU, fp32 elsewhere."""
    batch, steps = STEPS[device.type]
    precision = "bf16" if device.type == "cuda" else "fp32"
    config = resolve(NETS[depth], overrides=[f"train.precision={precision}", "execution.devices=1"]).config
    x = torch.randn(batch, 3, 224, 224, device=device).contiguous(memory_format=torch.channels_last)
    y = torch.zeros(batch, dtype=torch.int64, device=device)
    loop = bare_loop(config, repeat((x, y)), device)
    timed(loop, 1, device)  # warms up
    return batch / timed(loop, steps, device)


def bench(images: Path | None = None) -> Path:
    """Compare the views, time the loader alone and two nets from memory; results/bench/data.json holds each round."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with opened(images) as data, _threads(1), from_shards(data) as stored:
        log(f"timing {ROUNDS} rounds of {data.batch_size} images ...")
        timed = f"{data.n_train} images of {images.name}" if images else "synthetic images"
        found: dict[str, object] = {"images": timed}
        found |= {"bar": THRESHOLD, "per_core": PER_CORE, "side": SIDE, "seconds": in_turns(data, stored)}
        log(f"timing the loader with {cores()} workers, and the nets ...")
        found |= {"workers": cores(), "loader": loader_only(data, cores())}
        found |= {"threads_cut": loader_only(stored[CUT], cores())}
    nets = {f"ResNet-{depth}": model_only(depth, device) for depth in NETS}
    return write_bench("data", device, found | {"from_memory": nets})


@contextmanager
def _threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
