"""Memory of a step, counted and saved; blocks that are computed twice leave the training as it is, bit for bit."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.nn import functional as F

from reproduce.config.load import resolve
from reproduce.config.run import Run
from reproduce.models import activation_checkpointing
from reproduce.models.activation_checkpointing import recomputed
from reproduce.models.complexity import step_bytes
from reproduce.models.resnet import build
from reproduce.utils.errors import UserError
from tests.helpers.runs import forget, outcome

Make = Callable[..., Run]


def net_of(depth: int = 14, bn_group: int | None = None) -> nn.Module:
    return build(name="cifar-resnet", depth=depth, shortcut="A", bn_group=bn_group)


def trained(net: nn.Module, bf16: bool = False, steps: int = 3) -> dict[str, Tensor]:
    """The state after some updates."""
    optimizer = torch.optim.SGD(net.train().parameters(), lr=0.1, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        images, labels = torch.randn(8, 3, 16, 16, generator=generator), torch.arange(8)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(net(images).float(), labels)
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return net.state_dict()


def different(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    assert list(one) == list(other)
    return [name for name in one if not torch.equal(one[name], other[name])]


@pytest.mark.arithmetic
@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("group", [None, 4])
def test_recomputing_changes_no_bit_of_weights_or_running_statistics(bf16: bool, group: int | None) -> None:
    usual, saving = net_of(bn_group=group), recomputed(net_of(bn_group=group))
    assert different(trained(usual, bf16), trained(saving, bf16)) == []
    images = torch.randn(4, 3, 16, 16)
    assert torch.equal(usual.eval()(images), saving.eval()(images))


def test_that_test_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: blocks that are simply computed twice move their running statistics twice."""
    monkeypatch.setattr(
        activation_checkpointing, "_spare_statistics", lambda block: activation_checkpointing.nullcontext()
    )
    found = different(trained(net_of()), trained(recomputed(net_of())))
    assert {name.rpartition(".")[2] for name in found} == {"running_mean", "running_var"}
    assert all("_x." in name for name in found)


def test_a_copied_net_recomputes_its_own_blocks() -> None:
    net = recomputed(net_of())
    twin = copy.deepcopy(net)
    before = copy.deepcopy(net.state_dict())
    trained(twin)
    assert different(before, net.state_dict()) == []


def test_a_training_that_recomputes_gives_the_same_bits(tiny: Make) -> None:
    words = ["model.depth=14", "train.warmup_lr=0.01"]
    usual = tiny(overrides=words)
    expected = outcome(usual)
    forget(usual)
    assert outcome(tiny(overrides=[*words, "execution.activation_checkpointing=true"])) == expected


def test_recomputing_does_not_go_with_compile(tiny: Make) -> None:
    with pytest.raises(UserError, match="execution.activation_checkpointing: does not go with train.compile"):
        tiny(overrides=["execution.activation_checkpointing=true", "train.compile=true"])


def test_what_a_step_holds_is_counted_by_hand() -> None:
    """Images, outputs kept, in the backward pass the gradient of one more, and gradients of weights, copied or not."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 1000), nn.ReLU(), nn.Linear(1000, 10))
    kept = 4 * 50 * (3 * 64 + 1000 + 1000)  # images, the first layer's output, the ReLU's
    found = step_bytes(net, 50, 8, bf16=False)
    gradients = 4 * sum(p.numel() for p in net.parameters())
    assert kept < found < kept + 4 * 50 * 1000 + 2 * gradients + 4 * 50 * 10 * 10


@pytest.mark.arithmetic
@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("prepare", [lambda net: net, recomputed], ids=["usual", "recomputing"])
def test_tensors_without_contents_take_what_real_ones_take(
    bf16: bool, prepare: Callable[[nn.Module], nn.Module]
) -> None:
    real = step_bytes(prepare(net_of(20)), 8, 32, bf16)
    with FakeTensorMode(), torch.device("cpu"):
        counted = step_bytes(prepare(net_of(20)), 8, 32, bf16)
    assert counted == pytest.approx(real, rel=0.02)


@pytest.mark.arithmetic
def test_a_net_of_110_layers_takes_a_third_when_it_recomputes() -> None:
    from reproduce.jobs.room import step_gigabytes

    def taken(precision: str, *words: str) -> float:
        return step_gigabytes(resolve("cifar10-resnet-110", "paper", [*words]), precision)

    usual = taken("fp32")
    assert taken("fp32", "execution.activation_checkpointing=true") < usual / 3
    assert taken("bf16") == pytest.approx(usual / 2, rel=0.05)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device (make test-gpu)")
@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
def test_the_count_is_near_what_a_gpu_reserves(bf16: bool) -> None:
    """Workspaces of cuBLAS and cuDNN come on top: 32 MB for each of its handles on Hopper."""
    net = net_of(20).cuda().to(memory_format=torch.channels_last)
    step_bytes(net, 128, 32, bf16)
    net.zero_grad()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    counted = step_bytes(net, 128, 32, bf16)
    assert 0.7 * counted < torch.cuda.max_memory_allocated() - before < 1.3 * counted + 96e6


@pytest.mark.arithmetic
@pytest.mark.parametrize("depth", [110, pytest.param(1202, marks=pytest.mark.slow)])
def test_the_documentation_says_what_is_counted(depth: int) -> None:
    from reproduce.jobs.room import step_gigabytes

    counted = []
    for precision in ("fp32", "bf16"):
        for saving in ("false", "true"):
            run = resolve(f"cifar10-resnet-{depth}", "paper", [f"execution.activation_checkpointing={saving}"])
            counted.append(f"{step_gigabytes(run, precision):.2f}")
    page = (Path(__file__).resolve().parents[2] / "docs" / "performance.md").read_text()
    assert f"| ResNet-{depth} | {' | '.join(counted)} |" in page
