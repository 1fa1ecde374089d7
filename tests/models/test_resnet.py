"""The nets are the paper's: layers, parameters, multiply-adds, shortcuts, initial weights; every combination trains."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reproduce.evaluation.responses import response_layers
from reproduce.models import complexity, layers, resnet
from reproduce.models.resnet import build
from reproduce.utils.errors import UserError

# depth, parameters (Table 6: 0.27M ... 19.4M), multiply-adds at 32x32; a plain net has those of its twin with option A
CIFAR = [
    (20, 269_722, 40_551_040),
    (32, 464_154, 68_862_592),
    (44, 658_586, 97_174_144),
    (56, 853_018, 125_485_696),
    (110, 1_727_962, 252_887_680),
    (1202, 19_421_274, 2_829_238_912),
]
# depth, shortcut, stride, parameters, billions of multiply-adds at 224x224 (Table 1 prints 1.8, 3.6, 3.8, 7.6, 11.3)
IMAGENET = [
    (18, "none", "first-1x1", 11_515_688, 1.795),
    (18, "A", "first-1x1", 11_515_688, 1.795),
    (18, "B", "first-1x1", 11_689_512, 1.814),
    (34, "none", "first-1x1", 21_623_848, 3.644),
    (34, "A", "first-1x1", 21_623_848, 3.644),
    (34, "B", "first-1x1", 21_797_672, 3.664),
    (34, "C", "first-1x1", 22_716_840, 3.831),
    (50, "B", "first-1x1", 25_557_032, 3.858),
    (50, "B", "3x3", 25_557_032, 4.089),
    (101, "B", "first-1x1", 44_549_160, 7.570),
    (101, "B", "3x3", 44_549_160, 7.801),
    (152, "B", "first-1x1", 60_192_808, 11.282),
    (152, "B", "3x3", 60_192_808, 11.514),
]
Block = type[resnet.Basic] | type[resnet.Bottleneck]
SMALLEST = {
    ("cifar-resnet", "basic"): 8,
    ("cifar-resnet", "bottleneck"): 11,
    ("imagenet-resnet", "basic"): 18,
    ("imagenet-resnet", "bottleneck"): 50,
}


def cifar(depth: int = 8, shortcut: str = "A", **choices: object) -> nn.Module:
    return build(name="cifar-resnet", depth=depth, shortcut=shortcut, **choices)  # type: ignore[arg-type]


def images(batch: int, size: int = 32, channels: int = 3) -> Tensor:
    return torch.randn(batch, channels, size, size, generator=torch.Generator().manual_seed(batch))


def options(**choices: object) -> layers.Options:
    values: dict[str, object] = {
        "shortcut": "A",
        "zero_padding": "end",
        "subsample": "stride",
        "stride": "first-1x1",
        "bn_group": None,
    }
    values |= {"bn_momentum": 0.1, "bn_epsilon": 1e-5}
    return layers.Options(**(values | choices))  # type: ignore[arg-type]


@pytest.mark.parametrize("shortcut", ["none", "A"])
@pytest.mark.parametrize(("depth", "parameters", "multiply_adds"), CIFAR)
def test_cifar_nets_have_the_papers_size(depth: int, shortcut: str, parameters: int, multiply_adds: int) -> None:
    net = cifar(depth, shortcut)
    assert complexity.layers(net) == depth
    assert complexity.parameters(net) == parameters
    if depth < 1202 or shortcut == "A":
        assert complexity.multiply_adds(net) == multiply_adds


@pytest.mark.parametrize(("depth", "shortcut", "stride", "parameters", "billions"), IMAGENET)
def test_imagenet_nets_have_the_papers_size(
    depth: int, shortcut: str, stride: str, parameters: int, billions: float
) -> None:
    with torch.device("meta"):
        net = build(name="imagenet-resnet", depth=depth, shortcut=shortcut, stride=stride, classes=1000)
    assert complexity.layers(net) == depth
    assert complexity.parameters(net) == parameters
    assert round(complexity.multiply_adds(net, 224) / 1e9, 3) == billions


@pytest.mark.parametrize(("depth", "parameters", "multiply_adds"), CIFAR[:-1])
def test_option_b_adds_two_projections_on_cifar(depth: int, parameters: int, multiply_adds: int) -> None:
    net = cifar(depth, "B")
    assert complexity.parameters(net) == parameters + 2_752
    assert complexity.layers(net) == depth
    assert complexity.multiply_adds(net) == multiply_adds + 16 * 32 * 16 * 16 + 32 * 64 * 8 * 8


def test_option_c_has_thirteen_projections_more_than_b() -> None:
    def projections(shortcut: str) -> int:
        with torch.device("meta"):
            net = build(name="imagenet-resnet", depth=34, shortcut=shortcut)
        return sum(name.endswith("shortcut.conv") for name, _ in net.named_modules())

    assert projections("A") == 0
    assert projections("B") == 3
    assert projections("C") == 3 + 13  # Sec. 4.1


def test_counting_leaves_the_net_as_it_is() -> None:
    net = cifar(shortcut="B", bn_group=4)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert complexity.multiply_adds(net) > 0
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_multiply_adds_follow_the_size_of_the_image() -> None:
    net = cifar()
    fully_connected = 64 * 10
    assert complexity.multiply_adds(net, 64) - fully_connected == 4 * (
        complexity.multiply_adds(net, 32) - fully_connected
    )


@pytest.mark.parametrize(("name", "block"), SMALLEST)
@pytest.mark.parametrize("shortcut", ["none", "A", "B", "C"])
def test_every_net_runs_forward_and_backward(name: str, block: str, shortcut: str) -> None:
    for stride in ("first-1x1", "3x3") if block == "bottleneck" else ("first-1x1",):
        net = build(name=name, depth=SMALLEST[name, block], shortcut=shortcut, block=block, stride=stride, classes=7)
        loss = F.cross_entropy(net(images(2, 64 if name == "imagenet-resnet" else 16)), torch.tensor([0, 6]))
        loss.backward()
        gradients = [parameter.grad for parameter in net.parameters()]
        assert math.isfinite(loss.item())
        assert all(g is not None and bool(g.isfinite().all()) and bool(g.any()) for g in gradients)


@pytest.mark.parametrize("depth", [20, 32, 44, 56, 110])
@pytest.mark.parametrize("shortcut", ["none", "A", "B", "C"])
def test_every_cifar_depth_gives_logits(depth: int, shortcut: str) -> None:
    assert cifar(depth, shortcut)(images(2, 8)).shape == (2, 10)


@pytest.mark.parametrize(("zero_padding", "subsample"), list(itertools.product(("end", "both"), ("stride", "average"))))
def test_every_form_of_option_a_trains(zero_padding: str, subsample: str) -> None:
    net = cifar(zero_padding=zero_padding, subsample=subsample)
    net(images(2)).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_zero_padding_keeps_every_second_pixel_and_appends_zeros() -> None:
    x = images(2, 6, channels=4)
    end = layers.ZeroPadding(4, 8, 2, options())(x)
    both = layers.ZeroPadding(4, 8, 2, options(zero_padding="both"))(x)
    zeros = torch.zeros(2, 4, 3, 3)
    assert torch.equal(end, torch.cat([x[:, :, 0::2, 0::2], zeros], 1))
    assert torch.equal(both, torch.cat([zeros[:, :2], x[:, :, 0::2, 0::2], zeros[:, :2]], 1))


def test_zero_padding_can_average_the_pixels_it_drops() -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    y = layers.ZeroPadding(1, 2, 2, options(subsample="average"))(x)
    assert torch.equal(y[0, 0], torch.tensor([[2.5, 4.5], [10.5, 12.5]]))
    assert not y[0, 1].any()
    odd = layers.ZeroPadding(1, 2, 2, options(subsample="average"))(images(1, 7, channels=1))
    assert odd.shape == (1, 2, 4, 4)  # as a convolution with stride 2 rounds


def test_zero_padding_keeps_channels_last() -> None:
    y = layers.ZeroPadding(4, 8, 2, options())(images(2, 6, channels=4).to(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_the_residual_net_is_the_plain_net_plus_shortcuts() -> None:
    plain, net = cifar(14, "none"), cifar(14, "A")
    assert list(plain.state_dict()) == list(net.state_dict())
    with_shortcuts = set(dict(net.named_modules())) - set(dict(plain.named_modules()))
    assert with_shortcuts == {f"conv{stage}_x.{block}.shortcut" for stage in (2, 3, 4) for block in (0, 1)}


@pytest.mark.parametrize(("c_in", "stride"), [(8, 1), (4, 2)])
@pytest.mark.parametrize("block", [resnet.Basic, resnet.Bottleneck])
def test_a_block_adds_its_shortcut_before_the_last_relu(block: Block, c_in: int, stride: int) -> None:
    width = 8 // block.expansion
    residual_block, plain = block(c_in, width, stride, options()), block(c_in, width, stride, options(shortcut="none"))
    for module in (*residual_block.modules(), *plain.modules()):
        if isinstance(module, nn.Conv2d):
            torch.manual_seed(module.in_channels)
            nn.init.normal_(module.weight)
    x, responses = images(2, 6, channels=c_in), []
    last = plain.bn3 if isinstance(plain, resnet.Bottleneck) else plain.bn2
    last.register_forward_hook(lambda module, inputs, y: responses.append(y.clone()))
    assert torch.equal(plain(x), F.relu(responses[0]))
    shortcut = F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, 8 - c_in))
    assert torch.equal(residual_block(x), F.relu(responses[0] + shortcut))


@pytest.mark.parametrize(("name", "depth"), [("cifar-resnet", 20), ("imagenet-resnet", 18)])
def test_plain_a_b_and_c_start_from_the_same_common_weights(name: str, depth: int) -> None:
    states = [build(name=name, depth=depth, shortcut=option).state_dict() for option in ("none", "A", "B", "C")]
    for state in states[1:]:
        assert all(torch.equal(value, state[name]) for name, value in states[0].items())
    assert all(torch.equal(value, states[3][name]) for name, value in states[2].items())


@pytest.mark.arithmetic
def test_initial_weights_depend_on_the_seed_and_on_nothing_else() -> None:
    torch.manual_seed(1)
    first, drawn = cifar(seed=3), torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn)  # the global stream has not moved
    again, other = cifar(seed=3), cifar(seed=4)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in first.state_dict().items())
    weights = [name for name, value in first.named_parameters() if value.dim() > 1]
    assert not any(torch.equal(first.state_dict()[name], other.state_dict()[name]) for name in weights)


@pytest.mark.parametrize("init", ["fan_in", "fan_out"])
def test_initial_weights_are_those_of_he_et_al(init: str) -> None:
    net = build(name="imagenet-resnet", depth=18, shortcut="B", init=init, classes=1000)
    state = net.state_dict()
    for name, kernel, c_in, c_out in [
        ("conv1", 7, 3, 64),
        ("conv3_x.0.conv1", 3, 64, 128),
        ("conv3_x.0.shortcut.conv", 1, 64, 128),
        ("fc", 1, 512, 1000),
    ]:
        weight, n = state[f"{name}.weight"], kernel * kernel * (c_in if init == "fan_in" else c_out)
        assert weight.std().item() == pytest.approx(math.sqrt(2 / n), rel=0.03)
        assert abs(weight.mean().item()) < 4 * math.sqrt(2 / n / weight.numel())
    assert not state["fc.bias"].any()
    assert all(bool((state[name] == 1).all()) for name in state if "bn" in name and name.endswith(("weight", "var")))
    assert not any(state[name].any() for name in state if "bn" in name and name.endswith(("bias", "mean")))


def test_no_two_layers_start_alike() -> None:
    net = cifar(110)
    starts = [weight.flatten()[0].item() for name, weight in net.named_parameters() if weight.dim() > 1]
    assert len(set(starts)) == len(starts) == 110


def test_bn_group_equals_separate_batch_normalisations() -> None:
    grouped, by_hand = layers.BatchNorm(5, group=4), nn.BatchNorm2d(5)
    x, twin = images(12, 6, channels=5).requires_grad_(), images(12, 6, channels=5).requires_grad_()
    y, expected = grouped(x), torch.cat([by_hand(twin[k : k + 4]) for k in (0, 4, 8)])
    (y**3).sum().backward()
    (expected**3).sum().backward()
    assert torch.equal(y, expected)
    assert x.grad is not None
    assert twin.grad is not None
    torch.testing.assert_close(x.grad, twin.grad)
    assert not torch.allclose(y, nn.BatchNorm2d(5)(x))  # the groups matter


@pytest.mark.arithmetic
@pytest.mark.parametrize("momentum", [0.1, 0.9])
def test_moving_averages_follow_the_mean_over_the_groups(momentum: float) -> None:
    """One update an iteration, whatever the number of groups; in float64, where only rounding is between the two."""
    grouped = layers.BatchNorm(5, group=4).double()
    grouped.momentum = momentum
    mean, var = torch.zeros(5).double(), torch.ones(5).double()
    for iteration in range(3):
        x = (iteration + 1) * images(12, 6, channels=5).double()
        grouped(x)
        parts = [part.transpose(0, 1).flatten(1) for part in x.split(4)]
        mean += momentum * (torch.stack([part.mean(1) for part in parts]).mean(0) - mean)
        var += momentum * (torch.stack([part.var(1) for part in parts]).mean(0) - var)
    assert grouped.running_mean is not None
    assert grouped.running_var is not None
    torch.testing.assert_close(grouped.running_mean, mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(grouped.running_var, var, rtol=1e-12, atol=1e-12)


@pytest.mark.arithmetic
@pytest.mark.parametrize("group", [None, 2])
def test_moving_averages_follow_the_mean_over_the_micro_batches(group: int | None) -> None:
    """Three parts of 4 images move them as 12 images in groups of as many do."""
    whole, parts = (layers.BatchNorm(5, size).double() for size in (group or 4, group))
    for iteration in range(3):
        x = (iteration + 1) * images(12, 6, channels=5).double()
        found = []
        for k, part in enumerate(x.split(4)):
            parts.micro_batch = k, 3
            found.append(parts(part))
        assert torch.equal(torch.cat(found), whole(x))
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], value, rtol=1e-12, atol=1e-12)


@pytest.mark.arithmetic
def test_a_single_group_gives_torchs_bits() -> None:
    grouped, torchs = layers.BatchNorm(5, group=12), nn.BatchNorm2d(5)
    x = images(12, 6, channels=5)
    assert torch.equal(grouped(x), torchs(x))
    ours, theirs = grouped.state_dict(), torchs.state_dict()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == ["num_batches_tracked"]


def test_bn_momentum_and_epsilon_reach_every_layer() -> None:
    net = cifar(shortcut="B", bn_momentum=0.3, bn_epsilon=1e-3)
    layers = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(layer.momentum, layer.eps) for layer in layers} == {(0.3, 1e-3)}


def test_bn_group_is_for_training_only() -> None:
    grouped, ordinary = cifar(bn_group=4).eval(), cifar().eval()
    assert torch.equal(grouped(images(3)), ordinary(images(3)))


def test_without_a_group_bn_is_torchs() -> None:
    x = images(4, 6, channels=5)
    assert torch.equal(layers.BatchNorm(5)(x), nn.BatchNorm2d(5)(x))


def test_bn_averages_over_all_batches_where_it_has_no_momentum() -> None:
    ours, torchs = layers.BatchNorm(5), nn.BatchNorm2d(5)
    for norm in (ours, torchs):
        norm.momentum = None
        for k in range(3):
            norm(images(4, 6, channels=5) * (k + 1))
    assert all(torch.equal(value, torchs.state_dict()[name]) for name, value in ours.state_dict().items())
    assert int(ours.num_batches_tracked) == 3  # type: ignore[arg-type]


def test_bn_group_must_divide_the_batch() -> None:
    with pytest.raises(UserError, match=r"model\.bn_group: 6 images per device are no multiple of the group of 4"):
        cifar(bn_group=4)(images(6))


@pytest.mark.parametrize(("depth", "shortcut"), [(20, "none"), (20, "B"), (56, "A"), (110, "A")])
def test_response_layers_are_the_bns_after_every_3x3_layer(depth: int, shortcut: str) -> None:
    layers = response_layers(cifar(depth, shortcut))
    assert len(layers) == depth - 1  # Fig. 7: 19, 55 and 109 points
    assert all(isinstance(module, nn.BatchNorm2d) for _, module in layers)
    names = [name for name, _ in layers]
    n = (depth - 2) // 6
    inner = [f"conv{s}_x.{b}.conv{c}" for s in (2, 3, 4) for b in range(n) for c in (1, 2)]
    assert names == ["conv1", *inner]


def test_responses_are_taken_before_the_relu() -> None:
    net, seen = cifar(), []
    for _, module in response_layers(net):
        module.register_forward_hook(lambda module, inputs, y: seen.append(y.clone()))
    net(images(4))
    assert len(seen) == 7
    assert all(bool((y < 0).any()) for y in seen)


def test_response_layers_of_an_imagenet_net_leave_out_the_7x7_and_the_1x1() -> None:
    net = build(name="imagenet-resnet", depth=50, shortcut="B")
    assert [name for name, _ in response_layers(net)][:2] == ["conv2_x.0.conv2", "conv2_x.1.conv2"]
    assert len(response_layers(net)) == 16


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"depth": 21}, "model.depth: 21 is not 6n + 2"),
        ({"depth": 2}, "model.depth: 2 is not 6n + 2"),
        ({"depth": -4}, "model.depth: -4 is not 6n + 2"),
        ({"depth": 32, "block": "bottleneck"}, "model.depth: 32 is not 9n + 2"),
        ({"name": "imagenet-resnet", "depth": 20}, "model.depth: 20 is not one of 18, 34, 50, 101, 152"),
        ({"name": "imagenet-resnet", "depth": 50, "block": "basic"}, "model.block: 50 layers are bottleneck blocks"),
    ],
)
def test_what_is_no_net_of_the_paper_is_refused_in_one_line(choices: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as error:
        build(**({"name": "cifar-resnet", "depth": 20, "shortcut": "A"} | choices))  # type: ignore[arg-type]
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
