"""The captured step gives what the usual one gives. CUDA's recorder is replaced by two that run on the CPU."""

import gc
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from reproduce.config.run import Run
from reproduce.jobs.runner import train_all
from reproduce.metrics.classification import ErrorCounter
from reproduce.training import checkpoint, cuda_graph
from reproduce.training.callbacks import ResumeCallback
from reproduce.training.classification import Classifier
from reproduce.training.cuda_graph import WARM_UP, CapturedStep, EagerStep, Work
from reproduce.training.optimizer import SGD
from tests.helpers.runs import break_at, forget, outcome, result

Make = Callable[..., Run]
CAPTURED = ["execution.cuda_graph=true"]


class Again:
    """Records the function and replays it by calling it; counts both."""

    aside_calls = records = replays = 0

    def aside(self, work: Work) -> None:
        type(self).aside_calls += 1
        work()

    def record(self, work: Work) -> Work:
        type(self).records += 1

        def replay() -> None:
            type(self).replays += 1
            work()

        return replay


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch) -> type[Again]:
    """Steps on the CPU are captured, too."""

    class Counted(Again):
        aside_calls = records = replays = 0

    monkeypatch.setitem(cuda_graph.CAPTURES, "cpu", Counted)
    return Counted


class Tape(TorchDispatchMode):
    """The operations that ran, with their very tensors, as a CUDA graph keeps them: the host's part is not in it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("the host reads a tensor: CUDA refuses that in a capture")
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, out))
        return out

    def play(self) -> None:
        for func, args, kwargs, kept in self.calls:
            for old, new in zip(tree_leaves(kept), tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class Emulation:
    """As CUDA: recording changes no tensor, replaying repeats operations on the recorded addresses and nothing else."""

    def __init__(self, state: Callable[[], list[Tensor]]) -> None:
        self.state = state

    def aside(self, work: Work) -> None:
        work()

    def record(self, work: Work) -> Work:
        before = [tensor.clone() for tensor in self.state()]
        with Tape() as tape:
            work()
        with torch.no_grad():
            for tensor, old in zip(self.state(), before, strict=True):
                tensor.copy_(old)

        def replay() -> None:
            with torch.no_grad():
                tape.play()

        return replay


class Training:
    """A small net's update, with sums, outside Lightning."""

    def __init__(self, fused: bool | None = True) -> None:
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.net = nn.Sequential(*layers, nn.Linear(8, 4)).to(memory_format=torch.channels_last)
        self.optimizer = SGD().over(self.net, fused)
        self.sums = ErrorCounter()

    def update(self, images: Tensor, labels: Tensor) -> None:
        self.optimizer.zero_grad()
        scores = self.net(images)
        loss = F.cross_entropy(scores.float(), labels)
        loss.backward()
        self.optimizer.step()
        self.sums.accumulate(loss.detach(), scores, labels)

    def state(self) -> list[Tensor]:
        momentum = [state["momentum_buffer"] for state in self.optimizer.state.values()]
        sums = [x for x in (self.sums.loss, self.sums.errors) if isinstance(x, Tensor)]
        return [*self.net.state_dict().values(), *momentum, *sums]


def batches(n: int, device: str = "cpu") -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    pairs = [(torch.randn(6, 3, 8, 8, generator=generator), torch.arange(6) % 4) for _ in range(n)]
    return [(x.to(device, memory_format=torch.channels_last), y.to(device)) for x, y in pairs]


def carry_out(training: Training, capture: cuda_graph.Capture | None, device: str = "cpu") -> list[Tensor]:
    """Ten iterations under a learning rate that falls twice, one of the falls after the capture."""
    optimizer = training.optimizer
    make = EagerStep if capture is None else lambda update, optimizer: CapturedStep(update, optimizer, capture)
    carried: cuda_graph.Step = make(training.update, optimizer)
    for i, (images, labels) in enumerate(batches(10, device)):
        carried(images, labels, 0.1 if i < 2 else 0.01 if i < 6 else 0.001)
    return training.state()


def same(ones: list[Tensor], others: list[Tensor]) -> bool:
    return len(ones) == len(others) and all(torch.equal(a, b) for a, b in zip(ones, others, strict=True))


def test_a_replay_of_the_recorded_operations_alone_trains_to_the_same_bits() -> None:
    emulated = Training()
    found = carry_out(emulated, Emulation(emulated.state))
    assert same(found, carry_out(Training(), Again()))


def test_what_the_host_counts_or_reads_would_be_seen() -> None:
    """Negative control: a learning rate that is the host's number is recorded once and for all, an item() refused."""

    class Stale(CapturedStep):
        def _fill(self, images: Tensor, labels: Tensor, rate: float) -> None:
            super()._fill(images, labels, rate)
            for group in self.optimizer.param_groups:
                group["lr"] = rate

    stale = Training()
    carried = Stale(stale.update, stale.optimizer, Emulation(stale.state))
    for i, (images, labels) in enumerate(batches(10)):
        carried(images, labels, 0.1 if i < 2 else 0.01 if i < 6 else 0.001)
    assert not same(stale.state(), carry_out(Training(), Again()))
    unfused = Training(fused=False)  # reads a learning rate on the device by item()
    with pytest.warns(UserWarning, match="the host reads a tensor"):
        carry_out(unfused, Emulation(unfused.state))


def test_without_fusion_the_captured_form_rounds_as_the_usual_one() -> None:
    assert same(carry_out(Training(fused=None), Again()), carry_out(Training(fused=None), None))


def test_a_capture_that_fails_leaves_the_usual_training() -> None:
    class Refused(Again):
        def record(self, work: Work) -> Work:
            try:
                raise RuntimeError("operation not permitted when stream is capturing\nmore")
            finally:
                raise RuntimeError("the capture was invalidated")  # as CUDA, which so ends a capture that has failed

    with pytest.warns(UserWarning, match="no capture .operation not permitted when stream is capturing.; the training"):
        found = carry_out(Training(), Refused())
    assert same(found, carry_out(Training(), Again()))


def test_the_cache_of_autocast_is_off_in_the_step_and_as_before_after_it() -> None:
    seen = []
    update = lambda images, labels: seen.append(torch.is_autocast_cache_enabled())  # noqa: E731
    carried = CapturedStep(update, Training().optimizer, Again())
    with torch.autocast("cpu", torch.bfloat16):
        for images, labels in batches(WARM_UP + 2):
            carried(images, labels, 0.1)
        assert torch.is_autocast_cache_enabled()
    assert seen == [False] * (WARM_UP + 2)


class Mark:
    """Held by a gradient accumulator, and gone with it."""


def marked(weights: Iterable[Tensor]) -> "list[weakref.ref[Mark]]":
    """A mark on the gradient accumulator of each weight: that of the graph which is alive, where there is one."""
    marks = []
    for weight in weights:
        node = weight.view_as(weight).grad_fn.next_functions[0][0]  # type: ignore[union-attr]
        assert node is not None
        assert node.name() == "torch::autograd::AccumulateGrad"
        metadata: Any = node.metadata
        metadata["mark"] = mark = Mark()
        marks.append(weakref.ref(mark))
    return marks


def accumulators_left(make: type[CapturedStep] | type[EagerStep], precision: torch.dtype) -> list[int]:
    """How many gradient accumulators of an iteration's graph are still there after it, for some iterations.

    An accumulator remembers the stream that made it; one that outlives its iteration would make a capture on another
    stream wait for it, which CUDA refuses.
    """
    training, marks, left = Training(), [], []

    def update(images: Tensor, labels: Tensor) -> None:
        scores = training.net(images)
        marks.extend(marked(training.net.parameters()))
        assert all(mark() for mark in marks[-6:])
        F.cross_entropy(scores.float(), labels).backward()
        training.optimizer.step()

    capture = {"capture": Again()} if make is CapturedStep else {}
    carried = make(update, training.optimizer, **capture)
    with torch.autocast("cpu", precision, enabled=precision is torch.bfloat16):
        for images, labels in batches(WARM_UP + 2):
            carried(images, labels, 0.1)
            left.append(sum(mark() is not None for mark in marks))
    return left


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_no_gradient_accumulator_outlives_a_captured_step(precision: torch.dtype) -> None:
    gc.disable()  # what only a collection frees is not freed in time
    try:
        assert accumulators_left(CapturedStep, precision) == [0] * (WARM_UP + 2)
    finally:
        gc.enable()


def test_an_accumulator_that_outlives_its_step_would_be_seen() -> None:
    """Negative control: the cache of autocast, which is off in a captured step, keeps the graph of each cast weight."""
    assert accumulators_left(EagerStep, torch.bfloat16)[0] > 0


def test_no_gradient_accumulator_outlives_an_iteration_of_a_captured_training(
    tiny: Make, again: type[Again], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole of it: Lightning, the sums and the callbacks keep none either."""
    marks: list[weakref.ref[Mark]] = []
    left: list[int] = []
    untouched = Classifier.manual_backward

    def backward(self: Classifier, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        left.append(sum(mark() is not None for mark in marks))
        marks.extend(marked(self.net.parameters()))
        untouched(self, loss, *args, **kwargs)

    monkeypatch.setattr(Classifier, "manual_backward", backward)
    assert train_all([tiny(overrides=[*CAPTURED, "train.precision=bf16", "execution.steps_per_batch=4"])]) == 0
    assert again.records == 1
    assert left == [0] * 12


def test_a_batch_of_another_size_is_refused() -> None:
    carried = CapturedStep(lambda images, labels: None, Training().optimizer, Again())
    ((images, labels),) = batches(1)
    carried(images, labels, 0.1)
    with pytest.raises(AssertionError, match="of one size"):
        carried(images[:1], labels[:1], 0.1)


# ---- Whole trainings ----


@pytest.mark.arithmetic
@pytest.mark.parametrize(
    "words",
    [
        [],
        ["execution.steps_per_batch=4"],
        ["train.precision=bf16"],
        ["execution.activation_checkpointing=true"],
        ["execution.micro_batch=4", "execution.activation_checkpointing=true"],
        ["train.warmup_lr=0.01", "train.warmup_error=100"],
        ["train.warmup_lr=0.01", "train.warmup_error=0"],
        ["train.lr_policy=plateau", "train.plateau_watch=train", "train.plateau_patience=1", "train.plateau_gain=50"],
    ],
    ids=["plain", "chunks", "bf16", "recomputing", "micro-batches", "warm-up", "warm-up without end", "plateau"],
)
def test_a_captured_training_gives_the_same_bits(tiny: Make, again: type[Again], words: list[str]) -> None:
    usual = tiny(overrides=words)
    expected, warm = outcome(usual), result(usual)["warmup_iterations"]
    assert again.aside_calls == 0
    forget(usual)
    captured = tiny(overrides=[*words, *CAPTURED])
    assert (outcome(captured), result(captured)["warmup_iterations"]) == (expected, warm)
    assert (again.aside_calls, again.records, again.replays) == (WARM_UP, 1, 12 - WARM_UP)


@pytest.mark.parametrize("iteration", [1, 4, 5, 6, 11])
@pytest.mark.parametrize("order", [(True, False), (False, True), (True, True)], ids=["on-off", "off-on", "on-on"])
def test_a_state_continues_with_and_without_capture(
    tiny: Make, again: type[Again], monkeypatch: pytest.MonkeyPatch, iteration: int, order: tuple[bool, bool]
) -> None:
    warm = ["train.warmup_lr=0.01", "train.warmup_error=100"]
    run = tiny(overrides=warm)
    expected = outcome(run)
    forget(run)
    break_at(monkeypatch, iteration)
    assert train_all([tiny(overrides=[*warm, f"execution.cuda_graph={order[0]}"])]) == 1
    assert outcome(tiny(overrides=[*warm, f"execution.cuda_graph={order[1]}"])) == expected
    assert again.records == (order[0] and iteration > WARM_UP) + (order[1] and 12 - iteration > WARM_UP)


def test_states_on_the_way_hold_the_same(tiny: Make, again: type[Again], monkeypatch: pytest.MonkeyPatch) -> None:
    states: dict[bool, list[dict[str, Any]]] = {}
    for graph in (False, True):
        kept = states[graph] = []
        save = lambda folder, state, kept=kept: kept.append(copied(state))  # noqa: E731
        monkeypatch.setattr(checkpoint, "save", save)
        run = tiny(overrides=["train.warmup_lr=0.01", "train.warmup_error=100", f"execution.cuda_graph={graph}"])
        assert train_all([run]) == 0
        (Path("results") / run.folder / "result.json").unlink()
    assert len(states[True]) == len(states[False]) >= 10
    assert again.records == 1
    for usual, captured in zip(states[False], states[True], strict=True):
        assert usual == captured


def copied(state: dict[str, Any]) -> dict[str, Any]:
    """What a state holds of the training, as comparable values."""
    momentum = {key: value["momentum_buffer"].tolist() for key, value in state["optimizer"]["state"].items()}
    kept = {key: state[key] for key in ("iteration", "warmup_over", "rows")}
    sums = {key: state[key].tolist() for key in ("window", "warmup")}
    return kept | sums | {"momentum": momentum, "net": {k: v.tolist() for k, v in state["net"].items()}}


def test_a_state_continues_in_another_memory_layout(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fused SGD refuses momentum that lies otherwise than its weights."""
    layouts: list[bool] = []
    untouched = ResumeCallback._restore

    def look(self: ResumeCallback, trainer: Any, module: Any, state: Any) -> None:
        untouched(self, trainer, module, state)
        kept = trainer.optimizers[0].state
        layouts.extend(
            kept[weight]["momentum_buffer"].stride() == weight.stride() for weight in module.net.parameters()
        )

    monkeypatch.setattr(ResumeCallback, "_restore", look)
    break_at(monkeypatch, 6)
    assert train_all([tiny(overrides=["train.channels_last=false"])]) == 1
    assert train_all([tiny(overrides=["train.channels_last=true"])]) == 0
    assert layouts
    assert all(layouts)


# ---- On a GPU ----

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device (make test-gpu)")


@pytest.mark.gpu
@gpu
@pytest.mark.filterwarnings("error:execution.cuda_graph")  # a step that was not captured would be compared with itself
def test_cuda_replays_to_the_bits_of_the_same_step_uncaptured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    try:
        found = []
        for capture in (cuda_graph.CudaCapture(), Again()):
            training = Training()
            training.net.cuda()
            training.optimizer = SGD().over(training.net, True)
            found.append(carry_out(training, capture, "cuda"))
        assert same(*found)
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.gpu
@gpu
@pytest.mark.filterwarnings("error:execution.cuda_graph")  # a step that was not captured would be compared with itself
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 3e-2)])
def test_a_captured_training_on_cuda_is_near_the_usual_one(tiny: Make, precision: str, tolerance: float) -> None:
    words = [f"train.precision={precision}", "train.lr=0.01", "execution.accelerator=gpu"]
    losses = []
    for graph in (False, True):
        run = tiny(overrides=[*words, f"execution.cuda_graph={graph}"])
        losses.append([float(line.split(",")[2]) for line in outcome(run)[1].splitlines()[1:]])
        forget(run)
    assert losses[1] == pytest.approx(losses[0], rel=tolerance)
