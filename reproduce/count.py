"""What can be computed from a net itself: layers, parameters, multiply-adds (Table 1, "# params" of Table 6)."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def layers(net: nn.Module) -> int:
    """Weighted layers as the paper counts them (6n + 2; 18 ... 152): convolutions and fc, no projection shortcuts."""
    weighted = [name for name, module in net.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    return sum("shortcut" not in name.split(".") for name in weighted)


def parameters(net: nn.Module) -> int:
    """Trainable values: convolutions, BN scale and shift, fc with its bias; running statistics not counted."""
    return sum(parameter.numel() for parameter in net.parameters())


def multiply_adds(net: nn.Module, size: int = 32) -> int:
    """Multiply-adds ("FLOPs" of Table 1) of convolutions and fc for one [3, size, size] image; `net` is left as it is.

    One image on the net's device: faster than on `meta`, where torch derives every shape of 1,202 layers in Python.
    """
    training = net.training
    image = torch.zeros(1, 3, size, size, device=next(net.parameters()).device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(image)
    net.train(training)
    return counter.get_total_flops() // 2  # the counter takes a multiply-add for two
