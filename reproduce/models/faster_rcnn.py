"""Faster R-CNN [32] with VGG-16 or a residual net (Appendix A): shared convolutions, proposals, per-region layers."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image, roi_pool

from reproduce.models import resnet, vgg
from reproduce.models.boxes import STRIDE, Size, all_anchors, base_anchors, decode, sides_reach, suppress
from reproduce.models.detection_targets import Regions, Rpn, region_losses, rpn_losses, sample_regions
from reproduce.models.layers import Options, draw_gaussian, initialise
from reproduce.models.pretrained import load_state
from reproduce.utils.errors import UserError

PER_REGION = ("conv5_x", "average_pool", "flatten")  # layers of a residual net in the role of VGG's fc6 and fc7
ROI_SIZE = 14  # side of a residual net's pooled regions, which conv5_x halves (so the FPN paper on this one)
NEW_LAYERS = {"rpn.conv": 0.01, "rpn.score": 0.01, "rpn.box": 0.01, "score": 0.01, "box": 0.001}  # std at the start
Outputs = tuple[Tensor, Tensor]  # logits or probabilities, and deltas or boxes


class Backbone(NamedTuple):
    """A classification net in two: layers shared by all regions, and those of each; channels after both."""

    trunk: OrderedDict[str, nn.Module]
    region: OrderedDict[str, nn.Module]
    channels: int
    width: int
    roi_size: int


@dataclass(frozen=True)
class Example:
    """An image to learn from: [1, 3, H, W], resized by `scale`; its objects' boxes [g, 4] in the resized image.

    classes [g]: from 1 on. key: numbers of this pass, such as (seed, iteration, position), that all draws are keyed by.
    """

    image: Tensor
    scale: float
    boxes: Tensor
    classes: Tensor
    key: tuple[int, ...]

    @property
    def size(self) -> Size:
        return size_of(self.image)


def size_of(image: Tensor) -> Size:
    """Height and width of an image [1, 3, H, W]."""
    return image.shape[2], image.shape[3]


class RegionProposalNetwork(nn.Module):
    """A 3x3 convolution, and two siblings of 1x1: object or not, and the box, for each anchor (Sec. 3.1 of [32])."""

    def __init__(self, c_in: int, channels: int, anchors: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, channels, 3, padding=1)
        self.score = nn.Conv2d(channels, 2 * anchors, 1)
        self.box = nn.Conv2d(channels, 4 * anchors, 1)

    def forward(self, features: Tensor) -> Outputs:
        """[1, C, h, w] -> logits [h w A, 2] (no object, object), deltas [h w A, 4], in the order of `all_anchors`."""
        x = self.conv(features).relu_()
        logits = self.score(x)[0].unflatten(0, (2, -1)).permute(2, 3, 1, 0)  # channels: all no object, then all object
        return logits.flatten(0, 2), self.box(x)[0].permute(1, 2, 0).reshape(-1, 4)


class FasterRcnn(nn.Module):
    """A detector: images come one at a time and are never padded. See `build`.

    classes: without background. context: the whole image is one more region, and its features stand beside each
    region's (Appendix B). frozen: so many first stages of the trunk keep their weights; BN always does.
    """

    def __init__(
        self,
        parts: Backbone,
        *,
        classes: int,
        roi_size: int,
        rpn_channels: int,
        anchor_scales: Sequence[float],
        anchor_ratios: Sequence[float],
        context: bool,
        frozen: int,
        rpn: Rpn,
        regions: Regions,
    ) -> None:
        super().__init__()
        self.roi_size, self.context, self.rpn_rules, self.region_rules = roi_size, context, rpn, regions
        self.scales, self.ratios = anchor_scales, anchor_ratios
        self.trunk, self.region = nn.Sequential(parts.trunk), nn.Sequential(parts.region)
        self.rpn = RegionProposalNetwork(parts.channels, rpn_channels, len(self.scales) * len(self.ratios))
        self.width = parts.width
        width = parts.width * (2 if context else 1)
        self.score, self.box = nn.Linear(width, classes + 1), nn.Linear(width, 4 * (classes + 1))
        self._fix(frozen)

    def _fix(self, frozen: int) -> None:
        first = tuple(f"conv{stage}" for stage in range(1, frozen + 1))
        for name, weight in self.trunk.named_parameters():
            weight.requires_grad_(not name.startswith(first))
        for norm in self._batch_norms():
            norm.requires_grad_(False)

    def _batch_norms(self) -> list[nn.BatchNorm2d]:
        return [module for module in self.modules() if isinstance(module, nn.BatchNorm2d)]

    def train(self, mode: bool = True) -> "FasterRcnn":
        """BN stays as it is in testing: a constant scale and offset (Appendix A)."""
        super().train(mode)
        for norm in self._batch_norms():
            norm.eval()
        return self

    # Regions: proposed, pooled, classified

    def anchors_of(self, features: Tensor) -> Tensor:
        """All anchors of a map [1, C, h, w]: [h w A, 4]."""
        base = base_anchors(self.scales, self.ratios).to(features.device)
        return all_anchors(base, *features.shape[2:])

    @torch.no_grad()
    def propose(self, outputs: Outputs, anchors: Tensor, size: Size, scale: float, *, training: bool) -> Tensor:
        """RPN outputs -> boxes in the image of `size`, likeliest first: [2000, 4] at most, in testing [300, 4]."""
        (logits, deltas), rules, phase = outputs, self.rpn_rules, 0 if training else 1
        boxes = clip_boxes_to_image(decode(anchors, deltas), size)
        large = sides_reach(boxes, rules.min_size * scale)
        boxes, scores = boxes[large], (logits[:, 1] - logits[:, 0])[large]  # in the order of the softmax
        best = scores.argsort(descending=True, stable=True)[: rules.before_nms[phase]]
        return boxes[best][suppress(boxes[best], scores[best], rules.nms)[: rules.proposals[phase]]]

    def with_context(self, boxes: Tensor, size: Size) -> Tensor:
        """The regions to pool for boxes [R, 4]: with context the whole image, too, as the last of [R + 1, 4]."""
        height, width = size
        return torch.cat([boxes, boxes.new_tensor([[0, 0, width, height]])]) if self.context else boxes

    def describe(self, features: Tensor, regions: Tensor) -> Tensor:
        """A map [1, C, h, w] and regions [R, 4] of the image -> [R, width]: RoI pooling and the per-region layers."""
        inclusive = regions - regions.new_tensor([0, 0, 1, 1])  # RoI pooling names the last pixel, as Caffe does
        described: Tensor = self.region(roi_pool(features.to(regions), [inclusive], self.roi_size, 1 / STRIDE))
        return described

    def classify(self, described: Tensor) -> Outputs:
        """What `describe` gives for `with_context` -> logits [R, K + 1] and deltas [R, K + 1, 4] of the boxes."""
        if self.context:
            each, whole = described[:-1], described[-1:]
            described = torch.cat([each, whole.expand_as(each)], 1)
        return self.score(described), self.box(described).unflatten(1, (-1, 4))

    def detect(self, described: Tensor, boxes: Tensor, size: Size) -> Outputs:
        """Boxes [R, 4] in an image of `size` -> probabilities [R, K + 1] and each class's clipped box [R, K + 1, 4]."""
        logits, deltas = self.classify(described)
        moved = decode(boxes[:, None], deltas * boxes.new_tensor(self.region_rules.stds))
        return logits.softmax(1), clip_boxes_to_image(moved, size)

    # Testing and training

    def forward(self, image: Tensor, scale: float) -> Outputs:
        """[1, 3, H, W], resized by `scale` -> of each proposal the probabilities [R, K + 1] and boxes [R, K + 1, 4].

        Class 0 is the background. Boxes are in pixels of the original image, before non-maximum suppression.
        """
        features, size = self.trunk(image), size_of(image)
        proposals = self.propose(self.rpn(features), self.anchors_of(features), size, scale, training=False)
        scores, boxes = self.detect(self.describe(features, self.with_context(proposals, size)), proposals, size)
        return scores, boxes / scale

    def losses(self, example: Example) -> dict[str, Tensor]:
        """The four losses of approximate joint training (Sec. 3.2 of [32]): proposals are taken as constants."""
        features = self.trunk(example.image)
        outputs, anchors = self.rpn(features), self.anchors_of(features)
        proposals = self.propose(outputs, anchors, example.size, example.scale, training=True)
        return self.losses_of_rpn(outputs, anchors, example) | self.losses_of_regions(features, proposals, example)

    def losses_of_rpn(self, outputs: Outputs, anchors: Tensor, example: Example) -> dict[str, Tensor]:
        """Steps 1 and 3 of alternating training: of the RPN's outputs for the image."""
        scores, boxes = rpn_losses(*outputs, anchors, example.boxes, example.size, example.key, self.rpn_rules)
        return {"rpn_score": scores, "rpn_box": boxes}

    def losses_of_regions(self, features: Tensor, proposals: Tensor, example: Example) -> dict[str, Tensor]:
        """Steps 2 and 4: Fast R-CNN on a map [1, C, h, w] with given proposals [p, 4] of the resized image."""
        sampled = sample_regions(proposals, example.boxes, example.classes, example.key, self.region_rules)
        for layer in self.region:
            if isinstance(layer, vgg.Dropout):
                layer.key = example.key
        outputs = self.classify(self.describe(features, self.with_context(sampled[0], example.size)))
        scores, boxes = region_losses(*outputs, *sampled, self.region_rules)
        return {"score": scores, "box": boxes}


def load_backbone(net: FasterRcnn, state: Mapping[str, Tensor], path: str | Path, layout: str = "ours") -> None:
    """Fills trunk and per-region layers with a classification net's weights from `path`; its last layer stays out.

    UserError, and the net untouched, where any other key or shape differs.
    """
    load_state(
        backbone_of(net), layout, {key: value for key, value in state.items() if not key.startswith("fc.")}, path
    )


def backbone_of(net: FasterRcnn) -> nn.Sequential:
    """Trunk and per-region layers under the names that they have in the classification net."""
    return nn.Sequential(OrderedDict([*net.trunk.named_children(), *net.region.named_children()]))


def build(
    *,
    backbone: str,
    depth: int,
    classes: int,
    shortcut: str = "B",
    zero_padding: str = "end",
    subsample: str = "stride",
    stride: str = "first-1x1",
    bn_epsilon: float = 1e-5,
    init: str = "fan_in",
    anchor_scales: Sequence[float] = (8, 16, 32),
    anchor_ratios: Sequence[float] = (0.5, 1, 2),
    rpn_channels: int = 512,
    roi_size: int | None = None,
    context: bool = False,
    frozen: int = 2,
    fc_units: int = 4096,
    dropout: float = 0.5,
    rpn: Rpn | None = None,
    regions: Regions | None = None,
    seed: int = 0,
) -> FasterRcnn:
    """A detector of `classes` kinds of objects, with initial weights keyed by seed and name.

    backbone: resnet, of a depth of Table 1 and with the options of `resnet.build`, or vgg-16, with fc6 and fc7 of
    `fc_units` and `dropout`. anchor_scales: sides in units of 16 pixels (COCO: 4 as well). roi_size: side of a region's
    pooled map; None: 14, or 7 with VGG. context, frozen: as for FasterRcnn. rpn, regions: None: the constants of [32].
    """
    with torch.random.fork_rng(devices=[]):  # torch's own initial weights, replaced below, would move the global stream
        if backbone == "vgg-16":
            parts = _vgg(depth, fc_units, dropout)
        else:
            parts = _residual(depth, Options(shortcut, zero_padding, subsample, stride, None, 0.1, bn_epsilon))
        net = FasterRcnn(
            parts,
            classes=classes,
            roi_size=roi_size or parts.roi_size,
            rpn_channels=rpn_channels,
            anchor_scales=anchor_scales,
            anchor_ratios=anchor_ratios,
            context=context,
            frozen=frozen,
            rpn=rpn or Rpn(),
            regions=regions or Regions(),
        )
    _initialise(net, seed, init)
    return net


def _vgg(depth: int, fc_units: int, dropout: float) -> Backbone:
    if depth != 16:
        raise UserError(f"model.depth: {depth}: model.backbone=vgg-16 has 16 layers")
    return Backbone(vgg.trunk(), vgg.region(fc_units, dropout), vgg.FILTERS[-1][-1], fc_units, vgg.ROI_SIZE)


def _residual(depth: int, options: Options) -> Backbone:
    """conv1 to conv4_x are shared; conv5_x and the average pooling play the part of VGG's fc layers (Appendix A)."""
    layers = resnet.make_layers("imagenet-resnet", depth, "auto", 1, options)
    fc = layers.pop("fc")
    assert isinstance(fc, nn.Linear)
    region = OrderedDict((name, layers.pop(name)) for name in PER_REGION)
    return Backbone(layers, region, fc.in_features // 2, fc.in_features, ROI_SIZE)


def _initialise(net: FasterRcnn, seed: int, init: str) -> None:
    """The backbone as its classification net; new layers Gaussian, std 0.01, the boxes' 0.001 ([32]); biases 0."""
    initialise(backbone_of(net), seed, init)
    for name, std in NEW_LAYERS.items():
        draw_gaussian(net.get_parameter(f"{name}.weight"), std, f"{seed}/{name}.weight")
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
