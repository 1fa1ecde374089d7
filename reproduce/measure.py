"""Measuring a trained net: its test error, and batch-normalisation statistics recomputed as the authors did."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reproduce.precision import computing
from reproduce.sums import Sums

Batches = Iterable[tuple[Tensor, Tensor]]


@torch.inference_mode()
def count_errors(net: nn.Module, batches: Batches, precision: str = "fp32", top5: bool = False) -> Sums:
    """Errors over batches of images (b, 3, h, w) and labels (b,), each image a single view."""
    net.eval()
    sums = Sums()
    for images, labels in batches:
        with computing(precision, images.device):
            scores = net(images).float()
        sums.add(F.cross_entropy(scores, labels), scores, labels, top5=top5)
    return sums


@torch.no_grad()
def recompute_bn(net: nn.Module, batches: Batches, precision: str = "fp32") -> None:
    """Replace the moving averages of all BN layers by true averages over `batches` of training images.

    The authors computed them so after training (README of their released models), instead of moving averages.
    """
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    net.train()
    for images, _ in batches:
        with computing(precision, images.device):
            net(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    net.eval()
