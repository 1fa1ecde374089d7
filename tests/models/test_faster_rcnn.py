"""Faster R-CNN: the paper's size and shapes, RoI pooling, proposals, fixed BN, start weights, learning."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import box_iou, roi_pool

from reproduce.config.run import Run
from reproduce.config.schema import FasterRcnn as FasterRcnnKeys
from reproduce.models import resnet
from reproduce.models.boxes import decode
from reproduce.models.build import build_net
from reproduce.models.detection_targets import Regions
from reproduce.models.faster_rcnn import Example, FasterRcnn, build, load_backbone
from reproduce.models.precise_bn import recompute_bn
from reproduce.utils.errors import UserError
from tests.helpers.detectors import small_detector

COCO = (4, 8, 16, 32)
VOC = (8, 16, 32)
RESNET = ("conv1", "conv2_x", "conv3_x", "conv4_x", "conv5_x")


def detector(**choices: object) -> FasterRcnn:
    return small_detector(**choices)


def image(height: int = 96, width: int = 128, seed: int = 0) -> Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def example(**changes: object) -> Example:
    """Two squares on noise."""
    pixels, boxes = image() / 4, torch.tensor([[16.0, 16, 64, 64], [72, 40, 112, 80]])
    for (x1, y1, x2, y2), value in zip(boxes.int().tolist(), (2.0, -2.0), strict=True):
        pixels[:, :, y1:y2, x1:x2] += value
    return replace(Example(pixels, 1.0, boxes, torch.tensor([1, 3]), (0, 0, 0)), **changes)  # type: ignore[arg-type]


# Size and shapes


@pytest.mark.parametrize(
    ("backbone", "depth", "classes", "scales", "parameters", "trainable"),
    [
        ("vgg-16", 16, 20, VOC, 137_078_239, 136_818_079),
        ("vgg-16", 16, 80, COCO, 138_316_573, 138_056_413),
        ("vgg-16", 16, 200, VOC, 140_765_539, 140_505_379),
        ("vgg-16", 16, 200, COCO, 140_774_773, 140_514_613),
        ("resnet", 101, 20, VOC, 47_462_111, 47_134_367),
        ("resnet", 101, 80, COCO, 48_086_045, 47_758_301),
        ("resnet", 101, 200, VOC, 49_306_211, 48_978_467),
        ("resnet", 101, 200, COCO, 49_315_445, 48_987_701),
        ("resnet", 50, 20, VOC, 28_469_983, 28_194_463),
        ("resnet", 50, 80, COCO, 29_093_917, 28_818_397),
    ],
)
def test_parameters(
    backbone: str, depth: int, classes: int, scales: tuple[int, ...], parameters: int, trainable: int
) -> None:
    with torch.device("meta"):
        net = build(backbone=backbone, depth=depth, classes=classes, anchor_scales=scales)
    assert sum(weight.numel() for weight in net.parameters()) == parameters
    assert sum(weight.numel() for weight in net.parameters() if weight.requires_grad) == trainable


def test_parameters_part_by_part() -> None:
    with torch.device("meta"):
        net = build(backbone="resnet", depth=101, classes=20)
        small = build(backbone="resnet", depth=18, shortcut="A", classes=20)
    count = {name: sum(w.numel() for w in part.parameters()) for name, part in net.named_children()}
    assert count.pop("score") + count.pop("box") == 215_145
    assert count == {"trunk": 27_535_424, "region": 14_964_736, "rpn": 4_746_806}
    assert sum(weight.numel() for weight in small.parameters()) == 12_264_415


@pytest.mark.parametrize(("classes", "added"), [(20, 215_040), (80, 829_440), (200, 2_058_240)])
def test_global_context_doubles_the_inputs_of_the_siblings(classes: int, added: int) -> None:
    with torch.device("meta"):
        nets = [build(backbone="resnet", depth=101, classes=classes, context=context) for context in (True, False)]
    larger, smaller = (sum(weight.numel() for weight in net.parameters()) for net in nets)
    assert larger - smaller == added


def test_91_convolutions_are_shared() -> None:
    with torch.device("meta"):
        net = build(backbone="resnet", depth=101, classes=20)
    names = [name for name, module in net.trunk.named_modules() if isinstance(module, nn.Conv2d)]
    assert sum("shortcut" in name for name in names) == 3
    assert len(names) == 91 + 3


@pytest.mark.parametrize(("backbone", "depth", "channels"), [("vgg-16", 16, 512), ("resnet", 101, 1024)])
def test_an_image_of_600_by_1000(backbone: str, depth: int, channels: int) -> None:
    with torch.device("meta"):
        net = build(backbone=backbone, depth=depth, classes=20)
        features = net.trunk(torch.zeros(1, 3, 600, 1000))
        logits, deltas = net.rpn(features)
    assert features.shape == (1, channels, 38, 63)
    assert logits.shape == (21_546, 2)
    assert deltas.shape == net.anchors_of(features).shape == (21_546, 4)


def test_conv5_x_halves_a_region_of_14_by_14() -> None:
    with torch.device("meta"):
        net = build(backbone="resnet", depth=101, classes=20)
        pooled = torch.zeros(5, 1024, net.roi_size, net.roi_size)
        assert pooled.shape == (5, 1024, 14, 14)
        assert net.region[0](pooled).shape == (5, 2048, 7, 7)
        assert net.region(pooled).shape == (5, 2048)
        logits, deltas = net.classify(net.region(pooled))
    assert (logits.shape, deltas.shape) == ((5, 21), (5, 21, 4))


@pytest.mark.parametrize(
    ("values", "parameters"),
    [
        ({"depth": 101, "shortcut": "B"}, 47_462_111),
        ({"depth": 101, "shortcut": "B", "classes": 80, "anchor_scales": COCO, "context": True}, 48_915_485),
        ({"backbone": "vgg-16", "depth": 16, "shortcut": "none"}, 137_078_239),
    ],
)
def test_a_configuration_is_built(tiny: Callable[..., Run], values: dict[str, object], parameters: int) -> None:
    model = FasterRcnnKeys.model_validate({"name": "faster-rcnn"} | values)
    assert list(model.problems()) == []
    with torch.device("meta"):
        net = build_net(tiny().config.model_copy(update={"model": model}))
    assert sum(weight.numel() for weight in net.parameters()) == parameters


def test_a_detector_is_no_classification_net(tiny: Callable[..., Run]) -> None:
    with pytest.raises(UserError, match=r"model.name: faster-rcnn .* task=classification"):
        tiny(overrides=["model.name=faster-rcnn"])


@pytest.mark.parametrize("values", [{"depth": 16, "shortcut": "B"}, {"depth": 19, "shortcut": "none"}])
def test_vgg_is_a_plain_net_of_sixteen_layers(values: dict[str, object]) -> None:
    model = FasterRcnnKeys.model_validate({"name": "faster-rcnn", "backbone": "vgg-16"} | values)
    assert [problem.split(":")[0] for problem in model.problems()] == ["model.depth"]


def test_vgg_has_sixteen_layers() -> None:
    with pytest.raises(UserError, match="model.depth: 19"):
        build(backbone="vgg-16", depth=19, classes=20)


# RoI pooling


def round_half_up(x: float) -> int:
    return math.floor(x + 0.5)


def caffe_pooling(features: Tensor, box: list[float], side: int) -> Tensor:
    """RoI pooling of Fast R-CNN for one box of inclusive pixels: [1, C, h, w] -> [C, side, side]."""
    x1, y1, x2, y2 = (round_half_up(value / 16) for value in box)
    pooled = torch.zeros(features.shape[1], side, side)
    for row, column in itertools.product(range(side), repeat=2):
        height, width = max(y2 - y1 + 1, 1) / side, max(x2 - x1 + 1, 1) / side
        rows = range(max(0, y1 + math.floor(row * height)), min(features.shape[2], y1 + math.ceil((row + 1) * height)))
        columns = range(
            max(0, x1 + math.floor(column * width)), min(features.shape[3], x1 + math.ceil((column + 1) * width))
        )
        if rows and columns:
            cells = features[0, :, rows.start : rows.stop, columns.start : columns.stop]
            pooled[:, row, column] = cells.amax((1, 2))
    return pooled


def pooled_by(net: FasterRcnn, features: Tensor, boxes: Tensor) -> Tensor:
    net.region = nn.Sequential(nn.Flatten())
    return net.describe(features, boxes).unflatten(1, (-1, net.roi_size, net.roi_size))


def test_regions_are_pooled_as_by_caffe() -> None:
    features = torch.randn(1, 2, 12, 15, generator=torch.Generator().manual_seed(0))
    corners = torch.rand(20, 4, generator=torch.Generator().manual_seed(1)) * 100
    boxes = torch.cat([corners[:, :2], corners[:, :2] + corners[:, 2:] + 5], 1)
    expected = [caffe_pooling(features, (box - torch.tensor([0, 0, 1, 1])).tolist(), 3) for box in boxes]
    assert torch.equal(pooled_by(detector(), features, boxes), torch.stack(expected))


@pytest.mark.parametrize(("side", "cells"), [(8, 1), (16, 2)])
def test_the_last_pixel_of_a_box_decides_which_cells_it_has(side: int, cells: int) -> None:
    """Half-open [0, 0, 16, 16] ends with pixel 15, and 15/16 rounds to cell 1."""
    features = torch.arange(16.0).reshape(1, 1, 4, 4)
    pooled = pooled_by(detector(roi_size=1), features, torch.tensor([[0.0, 0, side, side]]))
    assert float(pooled) == features[0, 0, cells - 1, cells - 1]


def test_gradients_of_pooled_regions_are_finite_and_reach_the_maxima() -> None:
    features = torch.randn(1, 3, 6, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    boxes = torch.tensor([[0.0, 0, 0, 40, 40], [0, 120, 80, 128, 96], [0, 500, 500, 600, 600]])  # the last lies outside
    roi_pool(features, boxes, 7, 1 / 16).sum().backward()
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()
    assert features.grad.abs().sum() > 0


# Proposals


def test_outputs_come_in_the_order_of_the_anchors() -> None:
    net = detector()
    features = torch.randn(1, 256, 3, 4, generator=torch.Generator().manual_seed(0))
    logits, deltas = net.rpn(features)
    x = net.rpn.conv(features).relu()
    maps, moves = net.rpn.score(x)[0], net.rpn.box(x)[0]
    assert len(logits) == 3 * 4 * 6
    for row, column, anchor in ((0, 0, 0), (2, 1, 5), (1, 3, 2)):
        n = (row * 4 + column) * 6 + anchor
        assert torch.equal(logits[n], torch.stack([maps[anchor, row, column], maps[6 + anchor, row, column]]))
        assert torch.equal(deltas[n], moves[4 * anchor : 4 * anchor + 4, row, column])


@pytest.mark.parametrize("training", [True, False])
def test_proposals_against_a_slow_form(training: bool) -> None:
    net, scale, size = detector(), 1.5, (96, 128)
    anchors = net.anchors_of(torch.zeros(1, 256, 6, 8))
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(len(anchors), 2, generator=generator)
    deltas = torch.randn(len(anchors), 4, generator=generator) / 3
    boxes = decode(anchors, deltas)
    boxes = torch.stack([side.clamp(0, 128 if i % 2 == 0 else 96) for i, side in enumerate(boxes.unbind(1))], 1)
    large = [i for i, (x1, y1, x2, y2) in enumerate(boxes.tolist()) if min(x2 - x1, y2 - y1) >= 16 * scale]
    left = sorted(large, key=lambda i: -float(logits[i].softmax(0)[1]))[: 200 if training else 100]
    kept: list[int] = []
    while left:
        best, *left = left
        kept.append(best)
        left = [i for i in left if float(box_iou(boxes[[best]], boxes[[i]])) <= 0.7]
    proposals = net.propose((logits, deltas), anchors, size, scale, training=training)
    assert torch.equal(proposals, boxes[kept[: 50 if training else 20]])


# Batch normalisation, frozen layers, start weights


def test_only_what_learns_moves() -> None:
    """BN (statistics, scale, offset), conv1 and conv2_x stay, in training mode too; all else learns."""
    net = detector().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert not any(module.training for module in net.modules() if isinstance(module, nn.BatchNorm2d))
    assert net.region.training
    optimizer = torch.optim.SGD([weight for weight in net.parameters() if weight.requires_grad], lr=1e-4)
    sum(net.losses(example()).values(), torch.zeros(())).backward()
    optimizer.step()
    moved = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    fixed = {name for name in before if "bn" in name or name.startswith(("trunk.conv1.", "trunk.conv2_x."))}
    assert moved == before.keys() - fixed


def test_another_depth_of_freezing() -> None:
    net = detector(frozen=0)
    assert net.get_parameter("trunk.conv1.weight").requires_grad
    assert not net.get_parameter("trunk.bn1.weight").requires_grad


def test_initial_weights_are_the_classification_nets_and_keyed() -> None:
    state = torch.get_rng_state()
    net = detector(seed=3)
    assert torch.equal(state, torch.get_rng_state())
    classifier = resnet.build(name="imagenet-resnet", depth=18, shortcut="A", classes=10, seed=3).state_dict()
    ours = {name.partition(".")[2]: value for name, value in net.state_dict().items()}
    for name in classifier.keys() - {"fc.weight", "fc.bias"}:
        assert torch.equal(ours[name], classifier[name]), name
    stds = {name: float(net.state_dict()[f"{name}.weight"].std()) for name in ("rpn.conv", "rpn.box", "score", "box")}
    assert stds == pytest.approx({"rpn.conv": 0.01, "rpn.box": 0.01, "score": 0.01, "box": 0.001}, rel=0.05)
    assert not any(value.any() for name, value in net.named_parameters() if name.endswith("bias") and "bn" not in name)
    assert torch.equal(net.rpn.conv.weight, detector(seed=3, classes=9).rpn.conv.weight)
    assert not torch.equal(net.rpn.conv.weight, detector(seed=4).rpn.conv.weight)


def test_a_classification_net_fills_trunk_and_per_region_layers() -> None:
    classifier = resnet.build(name="imagenet-resnet", depth=18, shortcut="A", classes=10, seed=8)
    recompute_bn(classifier, [(image(64, 64, seed), torch.zeros(1)) for seed in range(2)])
    net = detector()
    load_backbone(net, classifier.state_dict(), "classifier.pt")
    assert isinstance(classifier, nn.Sequential)
    with torch.no_grad():
        expected = classifier[:-1](image())
        torch.testing.assert_close(net.eval().region(net.trunk(image())), expected)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"conv4_x.1.conv2.weight": None}, "conv4_x.1.conv2.weight is missing"),
        ({"conv6.weight": torch.zeros(1)}, "unexpected key conv6.weight"),
        ({"conv5_x.0.conv1.weight": torch.zeros(1)}, "conv5_x.0.conv1.weight has shape"),
    ],
)
def test_weights_that_do_not_fit_are_refused(changed: dict[str, Tensor | None], message: str) -> None:
    classifier = resnet.build(name="imagenet-resnet", depth=18, shortcut="A", classes=10, seed=8)
    state = {key: value for key, value in (classifier.state_dict() | changed).items() if value is not None}
    net = detector()
    before = net.trunk.get_parameter("conv1.weight").clone()
    with pytest.raises(UserError, match=f"classifier.pt: {message}"):
        load_backbone(net, state, "classifier.pt")
    assert torch.equal(before, net.trunk.get_parameter("conv1.weight"))


# Training and testing


def test_losses_depend_on_the_key_alone() -> None:
    net = detector()
    torch.manual_seed(0)
    first = net.losses(example())
    torch.manual_seed(1)
    assert all(torch.equal(value, first[name]) for name, value in net.losses(example()).items())
    assert not torch.equal(net.losses(example(key=(0, 1, 0)))["score"], first["score"])


def test_losses_begin_where_guessing_does() -> None:
    net = detector()
    calibrate(net)
    losses = {name: float(value.detach()) for name, value in net.losses(example()).items()}
    assert losses["rpn_score"] == pytest.approx(math.log(2), rel=0.2)
    assert losses["score"] == pytest.approx(math.log(4), rel=0.5)


def calibrate(net: FasterRcnn) -> None:
    """BN statistics of the drawn image, as if after a pre-training."""
    classifier = resnet.build(name="imagenet-resnet", depth=18, shortcut="A", classes=10)
    recompute_bn(classifier, [(example().image, torch.zeros(1))])
    load_backbone(net, classifier.state_dict(), "classifier.pt")


def test_it_learns_an_image_by_heart() -> None:
    net = detector().train()
    calibrate(net)
    optimizer = torch.optim.SGD([weight for weight in net.parameters() if weight.requires_grad], lr=0.01, momentum=0.9)
    curve = []
    for iteration in range(12):
        losses = net.losses(example(key=(0, iteration, 0)))
        optimizer.zero_grad()
        sum(losses.values(), torch.zeros(())).backward()
        optimizer.step()
        curve.append({name: float(value.detach()) for name, value in losses.items()})
    assert curve[-1]["rpn_score"] < 0.5 * curve[0]["rpn_score"]
    assert curve[-1]["score"] < 0.5 * curve[0]["score"]
    with torch.no_grad():
        scores, boxes = net.eval()(example().image, 1.0)
    best = scores[:, 1].argmax()
    assert float(box_iou(boxes[best, 1][None], example().boxes[:1])) > 0.5


@pytest.mark.parametrize("size", [(96, 128), (16, 16)], ids=["usual", "smaller than each anchor"])
@pytest.mark.parametrize("objects", [0, 1])
def test_odd_images_train(size: tuple[int, int], objects: int) -> None:
    net = detector(regions=Regions(batch=16)).train()
    odd = Example(image(*size), 1.0, torch.tensor([[1.0, 1, 9, 9]])[:objects], torch.ones(objects).long(), (0, 0, 0))
    losses = net.losses(odd)
    sum(losses.values(), torch.zeros(())).backward()
    assert all(math.isfinite(float(value.detach())) for value in losses.values())
    assert all(w.grad is not None and torch.isfinite(w.grad).all() for w in net.parameters() if w.requires_grad)


def test_boxes_are_given_in_pixels_of_the_original_image() -> None:
    net = detector().eval()
    scores, boxes = net(image(), 2.0)
    torch.testing.assert_close(scores.sum(1), torch.ones(len(scores)))
    assert boxes.shape == (len(scores), 4, 4)
    assert 0 < len(scores) <= 20
    assert boxes.flatten(0, 1).amax(0)[2:].le(torch.tensor([64, 48])).all()
    assert net(image(16, 16), 2.0)[1].shape == (0, 4, 4)  # no proposal reaches 16 pixels of the original


def test_context_stands_beside_each_region() -> None:
    net = detector(context=True).eval()
    features, boxes = net.trunk(image()), torch.tensor([[8.0, 8, 60, 70], [0, 0, 128, 96]])
    described = net.describe(features, net.with_context(boxes, (96, 128)))
    assert torch.equal(described[1], described[2])
    logits, _ = net.classify(described)
    expected = net.score(torch.cat([described[0], described[2]])[None])
    torch.testing.assert_close(logits[:1], expected)
    assert torch.equal(detector().with_context(boxes, (96, 128)), boxes)
