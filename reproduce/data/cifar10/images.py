"""A whole data set in memory as uint8 tensors, with its subset and its fingerprint."""

import hashlib
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Images:
    """A labelled training and test set: images uint8 [N, 3, 32, 32], labels int64 [N] into `classes`."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: list[str]
    description: str

    def subset(self, k: int) -> "Images":
        """The first k images of each class, in file order, of both sets; all of a class that has fewer."""
        train, test = _first_per_class(self.train_labels, k), _first_per_class(self.test_labels, k)
        return replace(
            self,
            train_images=self.train_images[train],
            train_labels=self.train_labels[train],
            test_images=self.test_images[test],
            test_labels=self.test_labels[test],
        )

    def shrunk(self, side: int) -> "Images":
        """The images averaged down to side x side pixels, rounded; `side` divides theirs."""
        return replace(
            self,
            train_images=_averaged(self.train_images, side),
            test_images=_averaged(self.test_images, side),
            description=f"{self.description}, shrunk to {side}x{side} pixels",
        )

    def fingerprint(self) -> str:
        """SHA-256 over labels (int64) and images (uint8), training set before test set: "sha256:<64 digits>"."""
        digest = hashlib.sha256()
        for tensor in (self.train_labels, self.train_images, self.test_labels, self.test_images):
            digest.update(tensor.contiguous().numpy().data.cast("B"))
        return f"sha256:{digest.hexdigest()}"


def _averaged(images: Tensor, side: int) -> Tensor:
    """uint8 [N, 3, h, h] -> [N, 3, side, side]: means over squares of pixels in integers, halves rounded up."""
    k = images.shape[2] // side
    sums = images.unfold(2, k, k).unfold(3, k, k).sum((4, 5), dtype=torch.int32)
    return ((2 * sums + k * k) // (2 * k * k)).to(torch.uint8)


def _first_per_class(labels: Tensor, k: int) -> Tensor:
    """Indices, ascending, of the first k images of each class."""
    first = [torch.nonzero(labels == label).flatten()[:k] for label in labels.unique()]
    return torch.cat(first).sort().values
