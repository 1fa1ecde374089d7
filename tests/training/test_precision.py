"""Every pass of a net is in the precision that its purpose asks for: training in one, tests in another."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from reproduce.__main__ import main
from reproduce.config.run import Run
from reproduce.jobs.runner import train_all
from reproduce.utils.precision import has_bf16
from tests.helpers.tiny import TINY

Make = Callable[..., Run]
Seen = set[tuple[str, str]]


@pytest.fixture(autouse=True)
def _flags() -> Iterator[None]:
    """TensorFloat-32 is switched for the whole process."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@pytest.fixture
def seen() -> Iterator[Seen]:
    """(training or test, precision) of every pass of a net: read off the switches themselves, which a CPU has too.

    Counting multiply-adds is no test: it passes a single image of zeros.
    """
    found: Seen = set()

    def look(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if hasattr(module, "fc") and len(inputs[0]) > 1:
            tf32 = {torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32}
            assert len(tf32) == 1, "convolutions and products differ"
            precision = "bf16" if torch.is_autocast_enabled("cpu") else "tf32" if tf32 == {True} else "fp32"
            found.add(("training" if module.training else "test", precision))

    handle = register_module_forward_pre_hook(look)
    yield found
    handle.remove()


def here(precision: str) -> str:
    """What bf16 is on this processor; the switch of TensorFloat-32 moves on a CPU too."""
    return "fp32" if precision == "bf16" and not has_bf16() else precision


@pytest.mark.arithmetic
@pytest.mark.parametrize("tested", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("trained", ["fp32", "tf32", "bf16"])
def test_a_training_tests_in_the_precision_of_tests(trained: str, tested: str, tiny: Make, seen: Seen) -> None:
    assert train_all([tiny(overrides=[f"train.precision={trained}", f"eval.precision={tested}"])]) == 0
    assert seen == {("training", here(trained)), ("test", here(tested))}


def test_images_that_steer_the_schedule_are_tested_in_the_precision_of_training(tiny: Make, seen: Seen) -> None:
    """Held-out images may move weights (`plateau`), and conditions of a test must not."""
    words = ["data.validation=10", "train.batch_size=4", "train.precision=bf16", "eval.precision=fp32"]
    assert train_all([tiny(overrides=words)]) == 0
    assert seen == {("training", here("bf16")), ("test", here("bf16")), ("test", "fp32")}


def test_evaluation_and_recomputed_statistics_are_in_the_precision_of_tests(tiny: Make, seen: Seen) -> None:
    assert train_all([tiny()]) == 0
    for precision in ("tf32", "bf16", "fp32"):
        seen.clear()
        words = [f"eval.precision={precision}", "eval.bn_statistics=recomputed"]
        assert main(["evaluate", "cifar10-resnet-20", "--profile", "smoke", *TINY, *words]) == 0
        assert seen == {
            ("training", here(precision)),
            ("test", here(precision)),
        }  # averages come from passes in training mode


def test_responses_are_in_fp32_whatever_the_process_allows(tiny: Make, seen: Seen) -> None:
    assert train_all([tiny()]) == 0
    seen.clear()
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    assert main(["responses", "cifar10-resnet-20", "--profile", "smoke", *TINY]) == 0
    assert seen == {("test", "fp32")}
    assert torch.backends.cudnn.allow_tf32
