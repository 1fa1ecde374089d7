"""Evaluation and layer responses: every test image once, strict loading, numbers that a calculation by hand gives."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from reproduce.__main__ import main
from reproduce.config.run import Run
from reproduce.evaluation.classification import evaluate, load_net
from reproduce.evaluation.responses import response_layers, responses, standard_deviations
from reproduce.jobs.runner import train_all
from reproduce.metrics.classification import count_errors
from reproduce.models.precise_bn import recompute_bn
from reproduce.models.resnet import build
from reproduce.utils.errors import UserError
from tests.helpers.tiny import TINY

Make = Callable[..., Run]
ARGUMENTS = ["cifar10-resnet-20", "--profile", "smoke", *TINY]


@pytest.mark.arithmetic
def test_evaluate_gives_the_error_that_training_recorded(tiny: Make, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny()
    assert train_all([run]) == 0
    assert main(["evaluate", *ARGUMENTS, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    recorded = json.loads((Path("results") / run.folder / "result.json").read_text())
    assert printed["top1_error"] == recorded["metrics"]["test_error"]
    assert (printed["run"], printed["protocol"], printed["n"]) == ("cifar10-resnet-20", "single", 30)
    assert printed["weights_sha256"] == recorded["weights_sha256"]
    assert json.loads((Path("results") / run.folder / "eval-single.json").read_text()) == printed


def test_other_weights_are_measured_but_not_recorded(tiny: Make, tmp_path: Path) -> None:
    run = tiny()
    torch.save(build(name="cifar-resnet", depth=8, shortcut="A", seed=9).state_dict(), tmp_path / "other.pt")
    assert evaluate(run, tmp_path / "other.pt")["n"] == 30
    assert not (Path("results") / run.folder).exists()


def to_akamaster(key: str) -> str:
    for stage in (2, 3, 4):
        key = key.replace(f"conv{stage}_x.", f"layer{stage - 1}.")
    return "module." + key.replace("fc.", "linear.")


def test_akamasters_layout_sets_its_padding_and_says_so(
    tiny: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = build(name="cifar-resnet", depth=8, shortcut="A", zero_padding="both", seed=3).eval()
    torch.save({"state_dict": {to_akamaster(k): v for k, v in net.state_dict().items()}}, tmp_path / "aka.th")
    loaded, run = load_net(tiny(), tmp_path / "aka.th")
    assert run.config.model.zero_padding == "both"
    assert "akamaster's weights: model.zero_padding=both, as they were trained" in capsys.readouterr().err
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loaded.eval()(x), net(x))


def test_a_key_that_does_not_fit_is_an_error_that_names_it(
    tiny: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny()
    state = build(name="cifar-resnet", depth=8, shortcut="A").state_dict()
    torch.save(state | {"conv9.weight": torch.zeros(1)}, tmp_path / "odd.pt")
    assert main(["evaluate", *ARGUMENTS, "--weights", str(tmp_path / "odd.pt")]) == 2
    errors = capsys.readouterr().err.strip()
    assert "conv9.weight" in errors
    assert "\n" not in errors


def test_weights_that_are_not_there_name_the_command(tiny: Make) -> None:
    with pytest.raises(UserError, match="python -m reproduce train cifar10-resnet-20 --profile smoke"):
        evaluate(tiny())


def test_recomputed_statistics_are_averages_over_the_batches() -> None:
    net = nn.Sequential(nn.BatchNorm2d(2), nn.Flatten())
    net[0].running_mean.fill_(7.0)  # type: ignore[operator]
    batches = [(torch.randn(6, 2, 4, 4, generator=torch.Generator().manual_seed(i)), torch.zeros(6)) for i in range(5)]
    recompute_bn(net, batches)
    means = torch.stack([x.mean((0, 2, 3)) for x, _ in batches]).mean(0)
    variances = torch.stack([x.var((0, 2, 3)) for x, _ in batches]).mean(0)
    torch.testing.assert_close(net[0].running_mean, means)
    torch.testing.assert_close(net[0].running_var, variances)
    assert net[0].momentum == 0.1
    assert not net.training


def test_recomputed_evaluation_has_a_file_of_its_own(tiny: Make) -> None:
    run = tiny()
    assert train_all([run]) == 0
    assert main(["evaluate", *ARGUMENTS, "eval.bn_statistics=recomputed"]) == 0
    [path] = (Path("results") / run.folder).glob("eval-single+*.json")
    found = json.loads(path.read_text())
    assert (found["bn_statistics"], found["n"]) == ("recomputed", 30)


def test_errors_are_counted_by_hand() -> None:
    class Sign(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([-x.flatten(), x.flatten()], 1)

    batches = [
        (torch.tensor([[-1.0], [2.0], [3.0]]), torch.tensor([0, 1, 0])),
        (torch.tensor([[-4.0]]), torch.tensor([1])),
    ]
    counted = count_errors(Sign(), batches)
    assert (int(counted.errors), counted.n) == (2, 4)


def test_responses_are_the_standard_deviation_after_bn_before_relu() -> None:
    net = build(name="cifar-resnet", depth=8, shortcut="A", seed=1).eval()
    x = torch.randn(7, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = standard_deviations(net, [(x[:4], x[:4, 0]), (x[4:], x[4:, 0])])
    assert len(found) == 7  # 6n + 1 layers of 3x3
    modules = dict(net.named_modules())
    first = modules["bn1"](modules["conv1"](x))
    second = modules["conv2_x.0.bn1"](modules["conv2_x.0.conv1"](first.relu()))
    assert found[:2] == pytest.approx([first.std().item(), second.std().item()], rel=1e-4)


@pytest.mark.parametrize(("depth", "points"), [(20, 19), (56, 55), (110, 109)])
def test_figure_7_has_a_point_per_3x3_layer(depth: int, points: int) -> None:
    for shortcut in ("none", "A"):
        with torch.device("meta"):
            net = build(name="cifar-resnet", depth=depth, shortcut=shortcut)
        assert len(response_layers(net)) == points


def test_responses_are_recorded(tiny: Make) -> None:
    run = tiny()
    assert train_all([run]) == 0
    assert len(responses(run)) == 7
    lines = (Path("results") / run.folder / "responses.csv").read_text().splitlines()
    assert lines[0] == "layer,std"
    assert [line.split(",")[0] for line in lines[1:]] == [str(i) for i in range(1, 8)]


def test_export_holds_weights_card_and_sum(tiny: Make) -> None:
    run = tiny()
    assert train_all([run]) == 0
    assert main(["export", *ARGUMENTS]) == 0
    folder = Path("exports") / run.folder
    assert (
        load_file(folder / "model.safetensors").keys()
        == build(name="cifar-resnet", depth=8, shortcut="A").state_dict().keys()
    )
    card = (folder / "README.md").read_text()
    assert "trained on cifar10: 8 layers" in card
    assert "32x32 pixels" in card
    assert "into the 10 classes" in card


def test_an_exported_file_is_tested_against_its_result(tiny: Make, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny()
    assert train_all([run]) == 0
    assert main(["export", *ARGUMENTS]) == 0
    result = Path("results") / run.folder / "result.json"
    recorded = json.loads(result.read_text())
    error = recorded["metrics"]["test_error"]
    assert f"tests to {error:.2f} %, result.json says {error:.2f} %" in capsys.readouterr().out
    recorded["metrics"]["test_error"] = error - 10
    result.write_text(json.dumps(recorded))
    assert main(["export", *ARGUMENTS]) == 1
