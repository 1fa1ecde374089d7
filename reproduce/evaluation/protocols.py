"""How trained ImageNet nets are tested (Sec. 3.4, 4.1): centre crop, 10-crop, fully convolutional at several scales.

Every protocol turns an image into class probabilities of one net; an ensemble averages those of its nets (Table 5).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reproduce.data.imagenet.transforms import centre_crop, resize_shorter
from reproduce.metrics.classification import ErrorCounter
from reproduce.utils.precision import computing

Normalise = Callable[[Tensor], Tensor]  # uint8 [b, 3, h, w] -> float32, the same shape
CHUNK = 32  # images that are decoded and tested together


@dataclass(frozen=True)
class Member:
    """A net and the normalisation that it was trained with."""

    net: nn.Module
    normalise: Normalise


@dataclass(frozen=True)
class Protocol:
    """`name`: single (centre crop), 10-crop or multi-scale. Sides and crop in pixels.

    `crop`: of training, 224 in the paper. `test_side`: shorter side of the image that crops are taken from.
    `test_sides`: shorter sides of multi-scale testing. `precision`: fp32, tf32 or bf16.
    """

    name: str
    crop: int
    test_side: int
    test_sides: Sequence[int]
    precision: str = "fp32"

    @property
    def sides(self) -> list[int]:
        """Shorter sides at which this protocol looks at an image."""
        return list(self.test_sides) if self.name == "multi-scale" else [self.test_side]

    def probabilities(self, member: Member, images: Sequence[Tensor]) -> Tensor:
        """Decoded images, uint8 [3, H, W] each, on the net's device -> [images, classes], each row summing to 1."""
        with computing(self.precision, images[0].device):
            return PROTOCOLS[self.name](self, member, images)


# The views


def ten_crops(image: Tensor, crop: int) -> Tensor:
    """[3, H, W] -> [10, 3, crop, crop]: four corners and the centre, then their mirror images, as in [21]."""
    bottom, right = image.shape[1] - crop, image.shape[2] - crop
    corners = [image[:, y : y + crop, x : x + crop] for y in (0, bottom) for x in (0, right)]
    crops = torch.stack([*corners, centre_crop(image, crop)])
    return torch.cat([crops, crops.flip(3)])


def dense_scores(net: nn.Module, x: Tensor, crop: int) -> Tensor:
    """The net in its fully convolutional form on larger images: [b, 3, h, w] -> class scores [b, classes].

    The average pooling keeps the window that it has in training and slides over the map; fc becomes a 1x1 convolution;
    its scores are averaged over all positions. As fc is linear, it may as well be applied to the average. On images of
    crop x crop pixels this is the net itself.
    """
    window = -(-crop // 32)  # five halvings: 7 for 224
    for name, layer in net.named_children():
        if name == "average_pool":
            break
        x = layer(x)
    fc = net.get_submodule("fc")
    scores: Tensor = fc(F.avg_pool2d(x, window, stride=1).mean((2, 3)))
    return scores


# The protocols


def _single(protocol: Protocol, member: Member, images: Sequence[Tensor]) -> Tensor:
    """Fig. 4: the centre crop."""
    crops = torch.stack([centre_crop(resize_shorter(image, protocol.test_side), protocol.crop) for image in images])
    return _softmax(member.net(_input(member, crops)))


def _ten_crop(protocol: Protocol, member: Member, images: Sequence[Tensor]) -> Tensor:
    """Tables 2 and 3: probabilities averaged over ten crops."""
    crops = torch.cat([ten_crops(resize_shorter(image, protocol.test_side), protocol.crop) for image in images])
    return _softmax(member.net(_input(member, crops))).unflatten(0, (len(images), 10)).mean(1)


def _multi_scale(protocol: Protocol, member: Member, images: Sequence[Tensor]) -> Tensor:
    """Table 4: probabilities of the whole image and its mirror image, averaged over the shorter sides."""
    return torch.stack([_at_side(protocol, member, images, side) for side in protocol.test_sides]).mean(0)


def _at_side(protocol: Protocol, member: Member, images: Sequence[Tensor], side: int) -> Tensor:
    """Images that have the same size after resizing go through the net together."""
    resized = [resize_shorter(image, side) for image in images]
    groups: dict[torch.Size, list[int]] = defaultdict(list)
    for index, image in enumerate(resized):
        groups[image.shape].append(index)
    found: dict[int, Tensor] = {}
    for indices in groups.values():
        x = _input(member, torch.stack([resized[index] for index in indices]))
        both = torch.stack([_softmax(dense_scores(member.net, view, protocol.crop)) for view in (x, x.flip(3))])
        found |= dict(zip(indices, both.mean(0), strict=True))
    return torch.stack([found[index] for index in range(len(images))])


PROTOCOLS = {"single": _single, "10-crop": _ten_crop, "multi-scale": _multi_scale}


def _input(member: Member, images: Tensor) -> Tensor:
    return member.normalise(images).contiguous(memory_format=torch.channels_last)


def _softmax(scores: Tensor) -> Tensor:
    return scores.float().softmax(1)


@torch.inference_mode()
def count(
    members: Sequence[Member], images: Iterable[tuple[Tensor, int]], protocol: Protocol, device: torch.device
) -> ErrorCounter:
    """Top-1 and top-5 errors of the average of `members` on decoded images, uint8 [3, H, W] each, with their labels.

    Each image is decoded once, whatever the number of views and nets.
    """
    errors = ErrorCounter()
    for member in members:
        member.net.eval()
    for chunk in _chunks(images):
        views = [image.to(device) for image, _ in chunk]
        mean = torch.stack([protocol.probabilities(member, views) for member in members]).mean(0).cpu()
        labels = torch.tensor([label for _, label in chunk])
        errors.add(F.nll_loss(mean.log(), labels), mean, labels, top5=True)
    return errors


def _chunks(images: Iterable[tuple[Tensor, int]]) -> Iterator[list[tuple[Tensor, int]]]:
    iterator = iter(images)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk
