"""Is a training likely to work? A minute of checks before hours of it, by the training's own net, data and loss."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from reproduce.config.device import set_threads
from reproduce.config.run import Run
from reproduce.data.build import Data, build_data
from reproduce.data.picture import picture
from reproduce.metrics.classification import Batch
from reproduce.training.classification import Classifier
from reproduce.training.trainer import TASKS
from reproduce.utils.files import write_bytes
from reproduce.utils.precision import autocast, computed, set_precision

IMAGES, LEARNED = 16, 4  # in the picture, of each kind; learned by heart: few, for a deep net on a CPU takes seconds
RATE = 0.01  # the warm-up's learning rate, at which every net of the paper starts to learn
STEPS, FEWEST_STEPS, SECONDS = 40, 10, 20.0  # in which they are to be learned; after the fewest, in as many seconds
IN_A_ROW = 3  # steps with a low loss: a single one may be luck


@dataclass(frozen=True)
class Check:
    """One line: what was found and, where it is wrong, what the cause may be."""

    name: str
    ok: bool
    found: str
    cause: str = ""

    def __str__(self) -> str:
        line = f"{'ok' if self.ok else 'wrong':7}{self.name}: {self.found}"
        return line if self.ok else f"{line}; likely cause: {self.cause}"


@dataclass(frozen=True)
class Subject:
    """What is checked: the training's module and data."""

    module: Classifier
    data: Data
    device: torch.device
    precision: str

    def batch(self) -> Batch:
        """The first images of the training, read anew: (LEARNED, 3, h, w), and their labels."""
        images, labels = self.data.train_batch(0, device=self.device)
        return images[:LEARNED], labels[:LEARNED]

    def gradients(self) -> tuple[float, float]:
        """Loss and error (percent) of that batch; leaves the gradients in the net."""
        images, labels = self.batch()
        self.module.window.clear()
        with autocast(self.precision, self.device):
            loss = self.module.loss(images, labels)
        self.module.window.n = len(labels)
        self.module.net.zero_grad()
        loss.backward()
        return loss.item(), self.module.window.error


def sanity(run: Run) -> Iterator[Check]:
    """The checks, each as soon as it is made; writes <workdir>/sanity.png. Errors: UserError where there is no data."""
    subject = _subject(run)
    classes = run.config.model.classes
    yield (first := check_images(subject, classes, run.workdir / "sanity.png"))
    if not first.ok:
        return  # the other checks would only repeat it
    loss, _ = subject.gradients()
    net = subject.module.net
    yield check_first_loss(loss, classes, sum(getattr(m, "shortcut", None) is not None for m in net.modules()))
    yield check_gradients(net)
    yield from check_learning(subject)


def _subject(run: Run) -> Subject:
    set_threads(run.config)
    set_precision(run.config.train.precision)
    values = {"train.batch_size": IMAGES, "model.bn_group": "device", "train.compile": False}
    config = run.config.replaced(values)
    data = build_data(config)
    data.prepare_data()
    data.setup("fit")
    module = TASKS[config.task](config).to(run.device)
    module.net.train()
    return Subject(module, data, run.device, config.train.precision)


def check_images(subject: Subject, classes: int, path: Path) -> Check:
    """Draws what the net sees, in raw pixels again, with the labels: whether they belong together a person sees."""
    data, device = subject.data, subject.device
    made = partial(Check, "images", False)
    spread = max(1, data.n_test // IMAGES)  # as a process among so many sees them: of all classes
    parts = {
        "training images as the net sees them": data.train_batch(0, device=device),
        "test images as the net sees them": next(data.test_batches(device, 0, spread, size=IMAGES)),
    }
    for title, (images, labels) in parts.items():
        if not images.isfinite().all():
            return made(f"{title} are not all finite", "data.scale or data.std near 0, or a damaged data set")
        if not bool(((labels >= 0) & (labels < classes)).all()):
            return made(
                f"a label is not in 0..{classes - 1}", "model.classes is smaller than the number of classes in the data"
            )
    drawn = {title: (data.pixels(x), [data.classes[k] for k in y.tolist()]) for title, (x, y) in parts.items()}
    write_bytes(path, picture(drawn))
    return Check("images", True, f"finite, labels in 0..{classes - 1}; look at them: {path}")


def check_first_loss(loss: float, classes: int, blocks: int) -> Check:
    """Near ln K, the loss of a guess. `blocks`: those with a shortcut; what they add up to spreads the scores."""
    guess, above = math.log(classes), 1 + math.sqrt(blocks)
    found = f"{loss:.2f}; that of a guess is ln {classes} = {guess:.2f}, at most 1 lower or {above:.1f} higher"
    ok = guess - 1 <= loss <= guess + above
    return Check("loss at iteration 0", ok, found, "initial weights of another scale (model.init), or an overflow")


def check_gradients(net: nn.Module) -> Check:
    """Those that a first backward pass left: of every weight, finite and not all zero."""
    states = {name: _state_of(weight.grad) for name, weight in net.named_parameters()}
    wrong = [f"{name}: {state}" for name, state in states.items() if state]
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    found = f"{wrong[0]}{more}" if wrong else f"finite and not zero in all {len(states)} weights"
    cause = "a frozen layer (requires_grad), one that the loss does not depend on, or a loss that is not finite"
    return Check("gradients", not wrong, found, cause)


def _state_of(gradient: Tensor | None) -> str:
    """What is wrong with a gradient; empty where nothing is."""
    if gradient is None:
        return "no gradient"
    if not gradient.isfinite().all():
        return "not finite"
    return "" if gradient.any() else "zero"


def check_learning(subject: Subject) -> Iterator[Check]:
    """The same few images again and again, until the net tells them apart; and how fast that went.

    Their loss is to fall well below the entropy of their labels, which a net reaches that does not look at them.
    """
    enough = 0.75 * max(_entropy(subject.batch()[1]), 0.2)
    optimizer = subject.module.sgd.over(subject.module.net)
    for group in optimizer.param_groups:
        group["lr"] = RATE
    began, losses = time.monotonic(), [math.inf]

    def learned() -> bool:
        return all(loss <= enough for loss in losses[-IN_A_ROW:])  # which NaN is not

    while not learned() and not _time_is_up(len(losses) - 1, time.monotonic() - began):
        loss, error = subject.gradients()
        optimizer.step()
        losses.append(loss)
    steps = len(losses) - 1
    found = f"loss {losses[1]:.2f} to {losses[-1]:.2f}, error {error:.0f} % on {LEARNED} images after {steps} steps"
    cause = "labels or images that change from one reading to the next, or an update that does not reach the weights"
    yield Check("one batch by heart", learned(), found, cause)
    speed = LEARNED * steps / (time.monotonic() - began)
    where = f"{subject.device.type}, {computed(subject.precision, subject.device)}, {torch.get_num_threads()} thread(s)"
    yield Check("speed", True, f"{speed:,.1f} images/s in batches of {LEARNED} ({where})")


def _entropy(labels: Tensor) -> float:
    """Of the labels' frequencies: the least loss of a net that gives every image the same scores."""
    shares = labels.unique(return_counts=True)[1] / len(labels)
    return float(-(shares * shares.log()).sum())


def _time_is_up(steps: int, seconds: float) -> bool:
    return steps >= STEPS or steps >= FEWEST_STEPS and seconds > SECONDS


Show = Callable[[str], None]


def passed(run: Run, show: Show) -> dict[str, bool]:
    """Shows each check when it is made; name -> whether it is passed."""
    found = {}
    for check in sanity(run):
        show(str(check))
        found[check.name] = check.ok
    return found
