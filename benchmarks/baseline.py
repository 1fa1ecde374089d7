"""The loop that ours is timed against: what most CIFAR-10 repositories have, written as they write it.

PIL images one at a time through torchvision's transforms and a DataLoader, a net in fp32 and PyTorch's default memory
layout, ReLU out of place, option A as a slice and a pad, and the loss read at each step.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
import torchvision.transforms as T
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from reproduce.data.cifar10.datamodule import Cifar10DataModule

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, which most repositories take for CIFAR-10 too


class PilImages(Dataset[tuple[Tensor, int]]):
    """The usual data set: one PIL image at a time, cropped, flipped, converted and normalised."""

    def __init__(self, data: Cifar10DataModule):
        self.images = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in data.train_images]
        self.labels = data.train_labels.tolist()
        normalise = T.Normalize(MEAN, STD)
        self.transform = T.Compose([T.RandomHorizontalFlip(), T.RandomCrop(32, 4), T.ToTensor(), normalise])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), self.labels[index]


class UsualBlock(nn.Module):
    """A basic block with option A."""

    def __init__(self, c_in: int, width: int, stride: int):
        super().__init__()
        self.stride, self.extra = stride, (width - c_in) // 2
        self.conv1, self.bn1 = nn.Conv2d(c_in, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.extra, self.extra))
        out += x
        return F.relu(out)


def usual_net(depth: int) -> nn.Module:
    """ResNet of 6n + 2 layers for CIFAR-10, option A, [b, 3, 32, 32] -> [b, 10]."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    for width in (16, 32, 64):
        for index in range((depth - 2) // 6):
            grows = width > 16 and index == 0
            layers.append(UsualBlock(width // 2 if grows else width, width, 2 if grows else 1))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def usual_loop(depth: int, batch: int, images: PilImages, workers: int, device: torch.device) -> Iterator[float]:
    """Each `next` is one step; yields its loss."""
    net = usual_net(depth).to(device)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    loader = DataLoader(
        images, batch, shuffle=True, num_workers=workers, persistent_workers=workers > 0, drop_last=True
    )
    while True:
        for x, y in loader:
            loss = F.cross_entropy(net(x.to(device)), y.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield loss.item()
