"""Configuration -> net, by a table."""

from collections.abc import Callable

import torch
from torch import nn

from reproduce.config.schema import Config
from reproduce.models import faster_rcnn, resnet
from reproduce.models.activation_checkpointing import recomputed


def build_net(config: Config) -> nn.Module:
    """The net of a configuration, with its keyed initial weights."""
    return MODELS[config.model.name](config)


def _resnet(config: Config) -> nn.Module:
    options, group = config.model.model_dump(exclude={"bn_group"}), config.model.bn_group
    return resnet.build(**options, bn_group=None if group == "device" else group, seed=config.train.seed)


def _faster_rcnn(config: Config) -> nn.Module:
    without_use = {"name", "block", "bn_group", "bn_momentum"}  # blocks are those of Table 1, and BN is constant
    return faster_rcnn.build(**config.model.model_dump(exclude=without_use), seed=config.train.seed)


# By model.name.
MODELS: dict[str, Callable[[Config], nn.Module]] = {
    "cifar-resnet": _resnet,
    "imagenet-resnet": _resnet,
    "faster-rcnn": _faster_rcnn,
}


def build_net_to_fill(config: Config) -> nn.Module:
    """The same net for weights of a file: nothing is drawn, which takes longer than reading; counters are 0."""
    with torch.device("meta"):
        net = build_net(config)
    net.to_empty(device="cpu")
    for statistics in net.buffers():
        statistics.zero_()
    return net


def build_training_net(config: Config) -> nn.Module:
    """The same net in the memory layout of its training, recomputing its blocks where that is asked for."""
    net = build_net(config)
    if config.train.channels_last:
        net = net.to(memory_format=torch.channels_last)
    return recomputed(net) if config.execution.activation_checkpointing else net
