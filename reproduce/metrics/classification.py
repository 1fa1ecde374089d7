"""Running loss, wrong top-1 and top-5 and images, kept on the device and read once per point of the curve."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reproduce.utils.precision import computing


class ErrorCounter:
    """Loss, errors and images seen, summed where the images are; reading them is what synchronises.

    The tensors of the sums stay the same from the first addition on: a CUDA graph knows their addresses.
    """

    def __init__(
        self, loss: float | Tensor = 0.0, errors: float | Tensor = 0, n: float = 0, top5_errors: float | Tensor = 0
    ):
        self.loss, self.errors, self.n, self.top5_errors = loss, _count(errors), int(n), _count(top5_errors)

    @classmethod
    def restored(cls, saved: Tensor, rank: int, processes: int) -> "ErrorCounter":
        """This process's part of saved sums (processes, 4); if their number has changed, all go to the first."""
        if len(saved) == processes:
            return cls(*saved[rank].tolist())
        return cls(*saved.sum(0).tolist()) if rank == 0 else cls()

    def add(self, mean_loss: Tensor, scores: Tensor, labels: Tensor, top5: bool = False) -> None:
        self.accumulate(mean_loss, scores, labels, top5)
        self.n += len(labels)

    def accumulate(self, mean_loss: Tensor, scores: Tensor, labels: Tensor, top5: bool = False) -> None:
        """The part of `add` that the device does."""
        self.loss = _plus(self.loss, mean_loss, len(labels))
        self.errors = _plus(self.errors, (scores.argmax(1) != labels).sum())
        if top5:
            self.top5_errors = _plus(self.top5_errors, top5_wrong(scores, labels).sum())

    def clear(self) -> None:
        self.loss, self.errors, self.top5_errors = map(_zero, (self.loss, self.errors, self.top5_errors))
        self.n = 0

    def tensor(self, device: torch.device | str) -> Tensor:
        """[loss, errors, n, top-5 errors] as float64, exact for counts below 2**53."""
        numbers = (self.loss, self.errors, self.n, self.top5_errors)
        return torch.stack([torch.as_tensor(x, dtype=torch.float64, device=device) for x in numbers])

    @property
    def mean_loss(self) -> float:
        return float(self.loss) / self.n if self.n else float("nan")

    @property
    def error(self) -> float:
        """In percent."""
        return 100.0 * float(self.errors) / self.n if self.n else float("nan")

    @property
    def top5_error(self) -> float:
        """In percent."""
        return 100.0 * float(self.top5_errors) / self.n if self.n else float("nan")


def _count(x: float | Tensor) -> float | Tensor:
    """A number of errors as an integer: a float would make float32 of the sum."""
    return x if isinstance(x, Tensor) else int(x)


def _plus(total: float | Tensor, x: Tensor, times: int = 1) -> Tensor:
    """total + times · x, in float64 or int64; in place from the second time on, in one kernel on a GPU."""
    if isinstance(total, Tensor):
        return total.add_(x, alpha=times)
    wide = x.double() if x.is_floating_point() else x.long()
    return wide * times + total


def _zero(total: float | Tensor) -> float | Tensor:
    return total.zero_() if isinstance(total, Tensor) else 0


def top5_wrong(scores: Tensor, labels: Tensor) -> Tensor:
    """Whether the label is not among the five highest scores: (b, classes) and (b,) -> bool (b,)."""
    best = scores.topk(min(5, scores.shape[1]), dim=1).indices
    return (best != labels[:, None]).all(1)


Batch = tuple[Tensor, Tensor]  # images (b, 3, h, w) and labels (b,)
Batches = Iterable[Batch]


@torch.inference_mode()
def count_errors(net: nn.Module, batches: Batches, precision: str = "fp32", top5: bool = False) -> ErrorCounter:
    """Errors over batches of images (b, 3, h, w) and labels (b,), each image a single view."""
    net.eval()
    sums = ErrorCounter()
    for images, labels in batches:
        with computing(precision, images.device):
            scores = net(images).float()
        sums.add(F.cross_entropy(scores, labels), scores, labels, top5=top5)
    return sums
