"""ImageNet's pixels as a net takes them: (x - offset) / divisor, of crops and of whole images."""

import torch
from torch import Tensor


class Normaliser:
    """Offset [3, crop, crop] or [3, 1, 1] and divisor [3, 1, 1], for raw pixels 0-255; x is laid out as `layout` says.

    A mean image has one value for each pixel of a crop. Images of another size (fully convolutional testing) have no
    such pixels, so the mean image's mean colour is subtracted there; the two differ little.
    """

    def __init__(self, offset: Tensor, divisor: Tensor, layout: torch.memory_format) -> None:
        self.offset, self.divisor, self.layout = offset, divisor, layout
        self._divides_by_one = bool((divisor == 1).all())
        self._on_device: dict[torch.device, tuple[Tensor, Tensor, Tensor]] = {}

    def __call__(self, x: Tensor, device: torch.device) -> Tensor:
        """x [b, 3, h, w], uint8 or float of 0-255 → float32 on `device`."""
        offset, mean_colour, divisor = self._resident(device)
        offset = offset if x.shape[2:] == offset.shape[1:] else mean_colour
        x = x.to(device, non_blocking=True).contiguous(memory_format=self.layout)
        x = x.sub(offset) if x.is_floating_point() else x.float().sub_(offset)  # the caller's floats stay as they are
        return x if self._divides_by_one else x.div_(divisor)

    def add(self, x: Tensor, colour: Tensor) -> Tensor:
        """Normalised x with colours [b, 3], in steps of 0-255, added to all pixels of each image; in place."""
        noise = colour[:, :, None, None].to(x.device, non_blocking=True)
        return x.add_(noise / self._resident(x.device)[2])

    def _resident(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Offset, its mean colour and divisor on `device`, moved there once; laid out in memory as x is."""
        if device not in self._on_device:
            offset = self.offset[None].contiguous(memory_format=self.layout)[0]
            parts = offset, self.offset.mean((1, 2), keepdim=True), self.divisor
            self._on_device[device] = parts[0].to(device), parts[1].to(device), parts[2].to(device)
        return self._on_device[device]
