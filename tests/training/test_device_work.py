"""What a training asks of its device: seen on torch's device without values ("meta"), so no GPU is needed.

A GPU waits wherever the host reads a tensor, and the host wherever it sends one; neither may happen within a step, and
a CUDA graph allows neither. Small nets wait for the launches, so these are counted as well.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from reproduce.config.load import resolve
from reproduce.config.schema import Config
from reproduce.data.build import build_data
from reproduce.models.layers import BatchNorm
from reproduce.training.classification import Classifier
from reproduce.training.trainer import build_classifier

DEVICE = "meta"
FREE = {"detach", "empty", "expand", "split", "t", "unsqueeze", "view"}  # operations that launch nothing
LAYER, BLOCK = 6, 2  # convolution, BN, ReLU and their gradients; a residual block's addition and that of its gradients


def places(values: Any) -> set[str]:
    return {x.device.type for x in tree_leaves(values) if isinstance(x, Tensor)}


class Watch(TorchDispatchMode):
    """The operations on the device by name, and those at which it and the host meet."""

    def __init__(self) -> None:
        super().__init__()
        self.launched: Counter[str] = Counter()
        self.read: list[str] = []
        self.sent: list[list[int]] = []
        self.mixed: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given, name = places((args, kwargs)), func.overloadpacket.__name__
        if DEVICE in given and name == "_local_scalar_dense":
            self.read.append(name)
            return 0
        out = func(*args, **(kwargs or {}))
        if DEVICE in given and len(given) > 1:
            self.mixed.append(name)
        made_of_numbers = name == "lift_fresh" and DEVICE in given  # torch.tensor(..., device=...)
        if made_of_numbers or (given == {"cpu"} and DEVICE in places(out)):
            self.sent.append([x.numel() for x in tree_leaves(args) if isinstance(x, Tensor)])
        if DEVICE in given and "cpu" in places(out):
            self.read.append(name)
        if DEVICE in given | places(out) and name not in FREE:
            self.launched[name] += 1
        return out

    @property
    def meetings(self) -> list[Any]:
        return [*self.read, *self.sent, *self.mixed]


class Still(torch.optim.SGD):
    """An optimizer that launches nothing: fused SGD is one or two kernels, but not to be had on this device."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        pass


def configured(run: str, *words: str) -> Config:
    return resolve(run, "smoke", ["train.batch_size=8", "train.precision=fp32", *words]).config


def on_device(config: Config) -> Classifier:
    module = build_classifier(config)
    module.net.to(DEVICE)
    module.manual_backward = Tensor.backward  # type: ignore[method-assign]
    module._without_reduction = nullcontext  # type: ignore[method-assign]
    return module


def batch_of(size: int) -> tuple[Tensor, Tensor]:
    return torch.empty(8, 3, size, size, device=DEVICE), torch.empty(8, dtype=torch.int64, device=DEVICE)


def step(config: Config, size: int = 32) -> Watch:
    """A training's second iteration; the first makes the sums."""
    module, batch = on_device(config), batch_of(size)
    optimizer = Still(module.net.parameters())
    module._update(optimizer, *batch)
    with Watch() as watch:
        module._update(optimizer, *batch)
    return watch


NETS = [
    ("cifar10-plain-20", (), 32),
    ("cifar10-resnet-20", (), 32),
    ("cifar10-resnet-20", ("model.zero_padding=both", "model.subsample=average"), 32),
    ("cifar10-resnet-20", ("model.bn_group=4",), 32),
    ("cifar10-resnet-20", ("execution.activation_checkpointing=true",), 32),
    ("cifar10-resnet-20", ("execution.micro_batch=4", "model.bn_group=2"), 32),
    ("cifar10-resnet-110", (), 32),
    ("imagenet-resnet-34-C", (), 64),
    ("imagenet-resnet-50", (), 64),
]


@pytest.mark.parametrize(("run", "words", "size"), NETS)
def test_a_step_neither_reads_nor_sends(run: str, words: tuple[str, ...], size: int) -> None:
    watch = step(configured(run, *words), size)
    assert watch.launched["convolution_backward"] > 18
    assert watch.meetings == []


def test_a_test_reads_nothing_before_its_end() -> None:
    module = on_device(configured("imagenet-resnet-18-A")).eval()
    with Watch() as watch, torch.no_grad():
        for _ in range(2):
            module.validation_step(batch_of(64), 0)
    assert watch.launched["convolution"] == 2 * 17
    assert watch.meetings == []


def test_batches_are_made_where_the_images_lie() -> None:
    """Once the images are there, only the numbers of the iterations are sent: for the order, and for the crops."""
    data = build_data(configured("cifar10-resnet-20", "data.subset=20"), chunk=50)
    data.setup("fit")
    data.train_batches(torch.arange(50), device=DEVICE)
    with Watch() as watch:
        batches = data.train_batches(torch.arange(50, 100), device=DEVICE)
    assert len(batches) == 50
    assert (watch.read, watch.mixed, watch.sent) == ([], [], [[50], [50]])
    assert watch.launched.total() < 250  # 50 iterations, at most 12 epochs of these few images begun


def test_a_layer_costs_six_operations_and_a_block_two_more() -> None:
    """A seventh per layer, such as PyTorch's counter of batches, would be a tenth of a small net's step."""
    shallow, deep = (step(configured(f"cifar10-resnet-{depth}")).launched.total() for depth in (20, 56))
    assert deep - shallow == 36 * LAYER + 18 * BLOCK
    assert shallow - 19 * LAYER - 9 * BLOCK <= 30  # option A's two paddings, pooling, fc, the loss and the sums


@pytest.mark.parametrize(
    ("trouble", "where"),
    [
        (lambda x: x.sum().item(), "read"),
        (lambda x: x.cpu(), "read"),
        (lambda x: torch.ones(3).to(DEVICE), "sent"),
        (lambda x: x * torch.tensor(2.0, device=DEVICE), "sent"),
        (lambda x: x + torch.tensor(1.0), "mixed"),
    ],
)
def test_a_meeting_would_be_seen(trouble: Callable[[Tensor], Any], where: str) -> None:
    with Watch() as watch:
        try:
            trouble(torch.empty(3, device=DEVICE))
        except NotImplementedError:  # nothing to copy
            watch.read.append("copy")
    assert getattr(watch, where)


def test_a_counter_per_layer_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = step(configured("cifar10-resnet-20")).launched
    monkeypatch.setattr(BatchNorm, "forward", nn.BatchNorm2d.forward)
    assert step(configured("cifar10-resnet-20")).launched - usual == {"add_": 19}
