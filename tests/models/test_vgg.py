"""VGG-16 as [32] uses it: its size, rounding up, keyed dropout, torchvision's weights."""

import pytest
import torch
import torchvision
from torch import nn

from reproduce.models import vgg
from reproduce.models.faster_rcnn import backbone_of, build


def count(layers: vgg.Layers) -> int:
    return sum(weight.numel() for layer in layers.values() for weight in layer.parameters())


def test_it_has_the_published_size() -> None:
    with torch.device("meta"):
        assert count(vgg.trunk()) == 14_714_688
        assert count(vgg.region()) == 119_545_856
        assert sum(isinstance(layer, nn.Conv2d) for layer in vgg.trunk().values()) == 13


@pytest.mark.parametrize(("size", "cells"), [((600, 1000), (38, 63)), ((16, 17), (1, 2))])
def test_poolings_round_up(size: tuple[int, int], cells: tuple[int, int]) -> None:
    with torch.device("meta"):
        assert nn.Sequential(vgg.trunk())(torch.zeros(1, 3, *size)).shape == (1, 512, *cells)


def test_dropout_is_keyed_and_keeps_the_mean() -> None:
    dropout, x = vgg.Dropout(0.5, layer=6), torch.ones(64, 4096)
    dropout.key = (0, 5, 1)
    dropped = dropout(x)
    torch.manual_seed(1)
    assert torch.equal(dropped, dropout(x))
    assert set(dropped.unique().tolist()) == {0, 2}
    assert abs(float(dropped.mean()) - 1) < 0.01
    dropout.key = (0, 6, 1)
    assert 0.45 < float((dropped == dropout(x)).float().mean()) < 0.55
    seventh = vgg.Dropout(0.5, layer=7)
    seventh.key = (0, 5, 1)
    assert 0.45 < float((dropped == seventh(x)).float().mean()) < 0.55
    assert torch.equal(dropout.eval()(x), x)


def test_torchvisions_weights_have_the_same_names_and_shapes() -> None:
    with torch.device("meta"):
        theirs = torchvision.models.vgg16(weights=None).state_dict()
        ours = backbone_of(build(backbone="vgg-16", depth=16, classes=20)).state_dict()
    shapes = {key: value.shape for key, value in ours.items()}
    assert {key: value.shape for key, value in vgg.from_torchvision(theirs).items()} == shapes


def test_torchvisions_weights_give_its_features() -> None:
    theirs = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"], batch_norm=False)
    state = vgg.from_torchvision({f"features.{key}": value for key, value in theirs.state_dict().items()})
    ours = nn.Sequential(vgg.trunk())
    ours.load_state_dict(state)
    image = torch.randn(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs[:-1](image))
