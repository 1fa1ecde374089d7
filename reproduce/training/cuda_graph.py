"""How an update is carried out: as it is written, or captured once as a CUDA graph and replayed.

Small nets at batch 128 wait for the launches of their hundreds of kernels; a graph launches all of them at once.
On a CUDA device this has not been run yet: the tests put another recorder in the place of `CudaCapture`.
"""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

Update = Callable[[Tensor, Tensor], None]  # images and labels: all that the device does in an iteration, in place
Work = Callable[[], None]
WARM_UP = 3  # iterations before the capture: they make momentum, sums and the libraries' handles


class Step(Protocol):
    def __call__(self, images: Tensor, labels: Tensor, rate: float) -> None:
        """One iteration on images (b, 3, h, w) and labels (b,) at a learning rate."""


class EagerStep:
    """The update as it is written."""

    def __init__(self, update: Update, optimizer: torch.optim.Optimizer) -> None:
        self.update, self.optimizer = update, optimizer

    def __call__(self, images: Tensor, labels: Tensor, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.update(images, labels)


class Capture(Protocol):
    """Where a step is warmed up and recorded."""

    def aside(self, work: Work) -> None:
        """Run the work eagerly on the stream of the capture (warm-up)."""

    def record(self, work: Work) -> Work:
        """Capture the work; calling what is returned replays it on the same tensors. Capturing changes no tensor.

        Errors: RuntimeError where CUDA refuses the capture.
        """


class CudaCapture:
    """On a side stream, as capture demands; the same for both, so that the libraries' handles of it are there."""

    def __init__(self) -> None:
        self.stream = torch.cuda.Stream()

    def aside(self, work: Work) -> None:
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            work()
        torch.cuda.current_stream().wait_stream(self.stream)

    def record(self, work: Work) -> Work:
        """Threads of a loader may go on pinning memory meanwhile: "thread_local"."""
        graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                work()
        finally:
            torch.cuda.set_stream(before)  # a capture that fails leaves its own stream behind (torch before 2.15)
        return graph.replay


CAPTURES: dict[str, Callable[[], Capture]] = {"cuda": CudaCapture}  # by type of device


class CapturedStep:
    """The update on input buffers of its own, recorded after some iterations and from then on replayed.

    The first iterations, run as they are, are iterations like the others. The learning rate is a tensor on the device
    (as is read by `fused` SGD alone), filled when it changes. Where recording fails, the update runs as it is written.
    """

    def __init__(self, update: Update, optimizer: torch.optim.Optimizer, capture: Capture) -> None:
        self.update, self.optimizer, self.capture = update, optimizer, capture
        self.made, self.rate = 0, 0.0
        self.repeat: Work | None = None
        self.recorded = False

    def __call__(self, images: Tensor, labels: Tensor, rate: float) -> None:
        if not self.made:
            self._allocate(images, labels)
        self._fill(images, labels, rate)
        if self.made == WARM_UP:
            self.repeat = self._record()
        if self.repeat:
            self.repeat()
        else:
            self.capture.aside(self._work)
        self.made += 1

    def _allocate(self, images: Tensor, labels: Tensor) -> None:
        self._inputs = torch.empty_like(images), torch.empty_like(labels)
        self._rate = torch.zeros((), device=images.device)
        self._work = partial(_without_autocast_cache, partial(self.update, *self._inputs))
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate

    def _fill(self, images: Tensor, labels: Tensor, rate: float) -> None:
        for buffer, given in zip(self._inputs, (images, labels), strict=True):
            assert buffer.shape == given.shape, "a CUDA graph takes batches of one size"
            buffer.copy_(given)
        if rate != self.rate:
            self._rate.fill_(rate)
            self.rate = rate

    def _record(self) -> Work:
        try:
            repeat = self.capture.record(self._work)
            self.recorded = True
            return repeat
        except RuntimeError as error:
            cause = error.__context__ or error  # the end of a capture that has failed raises once more
            reason = next(iter(str(cause).splitlines()), type(cause).__name__)
            warnings.warn(f"execution.cuda_graph: no capture ({reason}); the training goes on as usual", stacklevel=2)
            return self._work


def _without_autocast_cache(work: Work) -> None:
    """A weight that autocast has cast and kept would be missing in the recording, or be freed under it."""
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        work()
    finally:
        torch.set_autocast_cache_enabled(before)
