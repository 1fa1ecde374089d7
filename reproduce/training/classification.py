"""Image classification: cross-entropy, and the errors of the images that are tested."""

from contextlib import AbstractContextManager, nullcontext

import torch.nn.functional as F
from torch import Tensor, nn

from reproduce.metrics.classification import Batch, ErrorCounter
from reproduce.training.module import IterationModule
from reproduce.training.optimizer import SGD
from reproduce.training.schedule import Schedule
from reproduce.utils.precision import computing


class Classifier(IterationModule):
    """Trains a net to name the class of an image."""

    def __init__(
        self,
        net: nn.Module,
        schedule: Schedule,
        sgd: SGD,
        *,
        test_precision: str = "fp32",
        compiled: bool = False,
        captured: bool = False,
        micro_batch: int = 0,
        top5: bool = False,
    ):
        super().__init__(net, schedule, sgd, compiled=compiled, captured=captured, micro_batch=micro_batch)
        self.test_precision = test_precision
        self.top5 = top5  # top-5 errors are counted, too
        self.test, self.held_out = ErrorCounter(), ErrorCounter()

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        scores = self.trained(images)
        loss = F.cross_entropy(scores.float(), labels)
        for sums in self.running:
            sums.accumulate(loss.detach(), scores, labels)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Test images come first; those held out of the training set, where there are any, from a second loader.

        Only the former are tested in `test_precision`. The latter may steer the schedule (`plateau`) and are tested in
        the precision of the training, so that no condition of a test moves a weight.
        """
        images, labels = batch
        sums, precision = (self.held_out, nullcontext()) if dataloader_idx else (self.test, self._as_tested)
        if len(labels):
            with precision:
                scores = self.net(images).float()
            sums.add(F.cross_entropy(scores, labels), scores, labels, top5=self.top5)

    @property
    def _as_tested(self) -> AbstractContextManager[None]:
        return computing(self.test_precision, self.device)

    def test_row(self) -> dict[str, float]:
        """Of all test images, and of those held out where there are any."""
        test, held_out = self.total(self.test), self.total(self.held_out)
        self.test, self.held_out, self.tested = ErrorCounter(), ErrorCounter(), test.n
        row = {"test_error": test.error}
        row |= {"test_top5_error": test.top5_error} if self.top5 else {}
        return row | ({"validation_error": held_out.error} if held_out.n else {})
