"""Batch-normalisation statistics recomputed over training images, as the authors did."""

import torch
from torch import nn

from reproduce.metrics.classification import Batches
from reproduce.utils.precision import computing


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
