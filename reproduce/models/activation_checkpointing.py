"""Less memory: only the inputs of the residual blocks are kept, the rest is computed again in the backward pass."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def recomputed(net: nn.Module) -> nn.Module:
    """The same net, weights and names; its stages recompute their blocks. Does not go with torch.compile."""
    for name, stage in list(net.named_children()):
        if isinstance(stage, nn.Sequential):
            setattr(net, name, Recomputed(*stage))
    return net


class Recomputed(nn.Sequential):
    """A stage (conv2_x, ...) that in training keeps what goes into each of its blocks and nothing from inside them."""

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and torch.is_grad_enabled()):
            return super().forward(x)
        for block in self:
            contexts = partial(_contexts, block)
            x = checkpoint(block, x, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)
        return x


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Of the first computation of a block and of the second."""
    return nullcontext(), _spare_statistics(block)


@contextmanager
def _spare_statistics(block: nn.Module) -> Iterator[None]:
    """The running statistics of BN have moved in the first computation: the second moves others, which go nowhere."""
    norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
    own = [dict(norm._buffers) for norm in norms]
    for norm in norms:
        norm._buffers.update({k: None if v is None else torch.empty_like(v) for k, v in norm._buffers.items()})
    try:
        yield
    finally:
        for norm, buffers in zip(norms, own, strict=True):
            norm._buffers.update(buffers)
