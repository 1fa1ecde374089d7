"""Training: the update, the schedule, continuing to the same bits, stopping in good order, guarding results."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from reproduce.config.run import Run
from reproduce.jobs.lock import lock
from reproduce.jobs.runner import train_all, verdict
from reproduce.training import checkpoint, results
from reproduce.training.classification import SGD
from reproduce.training.trainer import build_classifier
from reproduce.utils.errors import UserError
from tests.helpers.figures import Figure
from tests.helpers.runs import break_at, curve, difference, forget, outcome, result
from tests.helpers.tiny import TINY

ROOT = Path(__file__).resolve().parents[2]
Make = Callable[..., Run]


@pytest.fixture
def straight(tiny: Make) -> tuple[str, str]:
    """Weights and curve of the tiny run without any interruption."""
    run = tiny(overrides=["execution.checkpoint_seconds=1000"])
    assert train_all([run]) == 0
    outcome = result(run)["weights_sha256"], curve(run)
    (Path("results") / run.folder / "result.json").unlink()
    checkpoint.clear(Path("runs") / run.folder)
    return outcome


@pytest.mark.arithmetic
def test_one_update_against_a_calculation_by_hand() -> None:
    """PyTorch's form with weight decay in the gradient: v := m v + g + wd w; w := w - lr v (Sec. 3.4: 0.9, 0.0001)."""
    net = nn.Linear(1, 1, bias=False)
    net.weight.data.fill_(2.0)
    optimizer = SGD(momentum=0.9, weight_decay=1e-4).over(net)
    optimizer.param_groups[0]["lr"] = 0.1
    w, v = 2.0, 0.0
    for gradient in (0.5, -1.0, 0.25):
        net.weight.grad = torch.full((1, 1), gradient)
        optimizer.step()
        v = 0.9 * v + gradient + 1e-4 * w
        w -= 0.1 * v
    assert net.weight.item() == pytest.approx(w, rel=1e-6)


def test_weight_decay_can_spare_bn_and_biases() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    groups = SGD(decay_all=False).over(net).param_groups
    assert [(group["weight_decay"], len(group["params"])) for group in groups] == [(1e-4, 2), (0.0, 4)]


def test_a_run_leaves_its_result(tiny: Make) -> None:
    run = tiny()
    assert train_all([run]) == 0
    found = result(run)
    assert (found["run"], found["seed"], found["iterations"], found["n_test"]) == ("cifar10-resnet-20", 0, 12, 30)
    rows = [line.split(",") for line in curve(run).splitlines()]
    assert rows[0] == ["iteration", "lr", "train_loss", "train_error", "test_error"]
    assert [(row[0], row[1]) for row in rows[1:]] == [("5", "0.1"), ("10", "0.001"), ("12", "0.001")]
    assert found["metrics"] == {"train_error": float(rows[-1][3]), "test_error": float(rows[-1][4])}
    assert "best_validation" not in found  # no image was held out
    origin = found["provenance"]
    assert origin["recipe_hash"] == run.recipe_hash
    assert origin["data"]["fingerprint"].startswith("sha256:")
    assert origin["command"].startswith(
        "python -m reproduce train cifar10-resnet-20 --profile smoke --seed 0 model.depth=8"
    )
    assert str(Path.home()) + "/" not in json.dumps(found)
    files = sorted(path.name for path in (Path("runs") / run.folder).iterdir())
    assert files == ["final.safetensors", "lock", "progress.json"]  # no state, no temporary file


def test_where_the_validation_error_was_lowest_stands_beside_the_last_iterate(tiny: Make) -> None:
    run = tiny(overrides=["data.validation=10"])
    assert train_all([run]) == 0
    lines = [line.split(",") for line in curve(run).splitlines()]
    rows = [dict(zip(lines[0], map(float, line), strict=True)) for line in lines[1:]]
    best, found = min(rows, key=lambda row: row["validation_error"]), result(run)
    expected = {"iteration": best["iteration"], "val_error": best["validation_error"], "test_error": best["test_error"]}
    assert found["best_validation"] == expected
    assert found["metrics"]["test_error"] == rows[-1]["test_error"]


def test_the_first_of_the_lowest_validation_errors_is_the_best() -> None:
    errors = [(50.0, 9.0), (20.0, 8.0), (20.0, 1.0), (30.0, 0.5)]  # a lower test error selects nothing
    rows = [{"iteration": i, "validation_error": v, "test_error": t} for i, (v, t) in enumerate(errors)]
    assert results.best_validation(rows) == {"iteration": 1, "val_error": 20.0, "test_error": 8.0}
    assert results.best_validation([{"iteration": 1, "test_error": 1.0}]) is None


@pytest.mark.arithmetic
def test_training_twice_gives_the_same_bits_and_another_seed_gives_others(
    tiny: Make, straight: tuple[str, str]
) -> None:
    again, other = tiny(), tiny(seed=1)
    assert train_all([again, other]) == 0
    assert (result(again)["weights_sha256"], curve(again)) == straight
    assert result(other)["weights_sha256"] != straight[0]


@pytest.mark.arithmetic
@pytest.mark.parametrize("iteration", [1, 4, 5, 6, 10, 11, 12])
def test_a_run_continues_to_the_same_bits(
    tiny: Make, straight: tuple[str, str], monkeypatch: pytest.MonkeyPatch, iteration: int
) -> None:
    run = tiny()
    break_at(monkeypatch, iteration)
    assert train_all([run]) == 1
    assert "the power went" in (Path("runs") / run.folder / "error.txt").read_text()
    assert train_all([run]) == 0
    assert result(run)["provenance"]["resumed"] == 1
    assert (result(run)["weights_sha256"], curve(run)) == straight


def test_a_result_lists_every_start(tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begun on one device and continued on two: with a group per device, BN is over 8 images and then over 4."""
    run = tiny()
    break_at(monkeypatch, 6)
    assert train_all([run]) == 1
    process = start(tmp_path, "execution.devices=2")
    errors = process.communicate(timeout=240)[1]
    assert process.returncode == 0, errors
    origin = result(run)["provenance"]
    starts = origin["starts"]
    assert [(one["iteration"], one["processes"]) for one in starts] == [(0, 1), (6, 2)]
    assert starts[0]["start"] <= starts[1]["start"]
    for one in starts:
        assert {key: one[key] for key in ("device", "versions", "commit", "threads")} == {
            key: origin[key] for key in ("device", "versions", "commit", "threads")
        }
        assert isinstance(one["dirty"], bool)
    assert errors.count("batch normalisation over 4 images now, 8 before (model.bn_group=device)") == 1


def test_equal_groups_on_more_devices_are_no_change(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny(overrides=["model.bn_group=4"])
    break_at(monkeypatch, 6)
    assert train_all([run]) == 1
    process = start(tmp_path, "model.bn_group=4", "execution.devices=2")
    errors = process.communicate(timeout=240)[1]
    assert process.returncode == 0, errors
    assert len(result(run)["provenance"]["starts"]) == 2
    assert "batch normalisation" not in errors


def test_that_test_can_fail(tiny: Make, straight: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: a continuation that forgets the momentum must not reach the same bits."""
    run = tiny()
    break_at(monkeypatch, 6)
    assert train_all([run]) == 1
    monkeypatch.setattr(torch.optim.SGD, "load_state_dict", lambda self, state: None)
    assert train_all([run]) == 0
    assert result(run)["weights_sha256"] != straight[0]


@pytest.mark.parametrize("damage", ["cut", "empty", "foreign"])
def test_a_damaged_state_falls_back_on_the_one_before(
    tiny: Make,
    straight: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    damage: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tiny()
    break_at(monkeypatch, 7)
    assert train_all([run]) == 1
    newest = sorted((Path("runs") / run.folder).glob("state-*.pt"))[-1]
    content = newest.read_bytes()
    newest.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "foreign": b"not a checkpoint"}[damage])
    assert train_all([run]) == 0
    assert "trying the one before" in capsys.readouterr().err
    assert (result(run)["weights_sha256"], curve(run)) == straight


def test_what_is_done_is_skipped(tiny: Make, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny()
    assert train_all([run]) == 0
    before = result(run)
    assert train_all([run]) == 0
    assert "done already" in capsys.readouterr().err
    assert result(run) == before


def below_any_error(run: Run) -> Run:
    """The same run with a warm-up that ends at its first window, even if no image of it was right."""
    return replace(run, config=run.config.replaced({"train.warmup_error": 101.0}))


def test_warm_up_ends_when_the_training_error_is_below_the_bar(tiny: Make) -> None:
    """Sec. 4.2 on ResNet-110: 0.01 until the training error is below 80 %; tested at multiples of the window."""
    eager = below_any_error(tiny(overrides=["train.warmup_lr=0.01"], seed=0))
    never = tiny(overrides=["train.warmup_lr=0.01", "train.warmup_error=0"], seed=0)
    assert train_all([eager]) == 0
    assert train_all([never]) == 0
    assert (result(eager)["warmup_iterations"], result(never)["warmup_iterations"]) == (2, None)
    assert [line.split(",")[1] for line in curve(eager).splitlines()[1:]] == ["0.1", "0.001", "0.001"]
    assert [line.split(",")[1] for line in curve(never).splitlines()[1:]] == ["0.01", "0.0001", "0.0001"]


def test_the_curve_shows_the_rate_of_the_iteration_before_a_test(tiny: Make) -> None:
    """A warm-up that ends on a test: the five iterations before it were made at 0.01."""
    run = below_any_error(tiny(overrides=["train.warmup_lr=0.01", "train.warmup_window=5"]))
    assert train_all([run]) == 0
    assert result(run)["warmup_iterations"] == 5
    assert [line.split(",")[1] for line in curve(run).splitlines()[1:]] == ["0.01", "0.001", "0.001"]


@pytest.mark.arithmetic
def test_a_run_in_micro_batches_continues_to_the_same_bits(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tiny(overrides=["execution.micro_batch=4"])
    expected = outcome(run)
    assert {start["micro_batch"] for start in result(run)["provenance"]["starts"]} == {4}
    forget(run)
    break_at(monkeypatch, 6)
    assert train_all([run]) == 1
    assert outcome(run) == expected
    forget(run)
    assert outcome(tiny(overrides=["execution.micro_batch=2"])) != expected  # BN over two images


@pytest.mark.parametrize(("group", "told"), [("device", 1), ("4", 0)])
def test_other_micro_batches_are_told_where_they_change_the_normalisation(
    tiny: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], group: str, told: int
) -> None:
    break_at(monkeypatch, 6)
    words = [f"model.bn_group={group}"]
    assert train_all([tiny(overrides=words)]) == 1
    assert train_all([tiny(overrides=[*words, "execution.micro_batch=4"])]) == 0
    assert capsys.readouterr().err.count("batch normalisation over 4 images now, 8 before") == told


@pytest.mark.arithmetic
def test_several_iterations_per_lightning_batch_change_nothing(tiny: Make, straight: tuple[str, str]) -> None:
    run = tiny(overrides=["execution.steps_per_batch=4"])
    assert train_all([run]) == 0
    assert (result(run)["weights_sha256"], curve(run)) == straight


@pytest.mark.arithmetic
def test_no_weight_that_autocast_rounded_outlives_its_iteration(tiny: Make) -> None:
    """Within one Lightning batch autocast is entered once; its cache would hold the weights of the first iteration."""
    found = []
    for chunk in (1, 4):
        run = tiny(overrides=["train.precision=bf16", f"execution.steps_per_batch={chunk}"])
        assert train_all([run]) == 0
        found.append((result(run)["weights_sha256"], curve(run)))
        forget(run)
    assert found[0] == found[1]


def test_a_result_names_the_device_that_trained_it(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the time of writing Lightning has moved the net to the CPU."""
    monkeypatch.setattr(results, "provenance", lambda run, **given: given)
    monkeypatch.setattr(results, "data_provenance", lambda data: {})
    place = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cuda", 0)), world_size=1)
    keeper = SimpleNamespace(commit=(None, False), began="", seconds_in_all=1.0, resumed=0, starts=[])
    found = results.origin(tiny(), place, build_classifier(tiny().config), None, keeper)  # type: ignore[arg-type]
    assert found["device"] == torch.device("cuda", 0)
    assert "captured" not in found
    run = tiny(overrides=["execution.cuda_graph=true"])
    assert results.origin(run, place, build_classifier(run.config), None, keeper)["captured"] is False  # type: ignore[arg-type]


def test_a_capture_that_cannot_be_is_told(tiny: Make, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny(overrides=["execution.cuda_graph=true"])
    assert train_all([run]) == 0
    assert "execution.cuda_graph: without effect; a step is captured on a single CUDA device" in capsys.readouterr().err
    assert result(run)["provenance"]["captured"] is False


def test_tests_see_no_gpu_unless_they_are_for_one() -> None:
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_paper_takes_official_data_only(
    tiny: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = replace(tiny(), profile="paper")
    assert train_all([run]) == 2
    assert "for the official data only" in capsys.readouterr().err
    assert not (Path("results") / "paper").exists()


def test_a_profile_holds_one_data_set(tiny: Make, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny()
    assert train_all([run]) == 0
    path = Path("results") / run.folder / "result.json"
    changed = result(run)
    changed["provenance"]["data"]["fingerprint"] = "sha256:other"
    path.write_text(json.dumps(changed))
    assert train_all([tiny(seed=1)]) == 2
    assert "other data" in capsys.readouterr().err


def test_another_recipe_does_not_continue_a_run(
    tiny: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tiny()
    break_at(monkeypatch, 6)
    assert train_all([run]) == 1

    for path in (Path("runs") / run.folder).glob("state-*.pt"):
        checkpoint.save(path.parent, checkpoint.load(path) | {"recipe_hash": "another"})
    assert train_all([run]) == 2
    assert "another recipe" in capsys.readouterr().err


def test_one_failed_run_does_not_stop_the_others(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tiny(seed=0), tiny(seed=1)
    break_at(monkeypatch, 3)
    assert train_all([first, second]) == 1
    assert result(second)["seed"] == 1
    assert (verdict([0, 0]), verdict([0, 2]), verdict([2, 2])) == (0, 1, 2)


def test_a_folder_is_trained_by_one_process(tiny: Make, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny()
    with lock(Path("runs") / run.folder):
        assert train_all([run]) == 2
    assert f"pid {os.getpid()} on " in capsys.readouterr().err
    assert train_all([run]) == 0


def test_a_result_file_of_another_form_is_one_line(tiny: Make) -> None:
    run = tiny()
    path = Path("results") / run.folder / "result.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"provenance": 3}')
    with pytest.raises(UserError, match="not a result file"):
        train_all([run])


def test_an_outside_launcher_must_start_what_is_configured(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="2 processes were started for execution.devices=1"):
        train_all([tiny()])


def start(tmp_path: Path, *words: str, program: str = "reproduce") -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", program, "train", "cifar10-resnet-20", "--profile", "smoke", *TINY, *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)


def evaluated(tmp_path: Path, *words: str, program: str = "reproduce") -> float:
    command = [sys.executable, "-m", program, "evaluate", "cifar10-resnet-20", "--profile", "smoke", *TINY, *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, "--json"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return float(json.loads(done.stdout.splitlines()[-1])["top1_error"])


def wait_for_a_state(tmp_path: Path, process: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + 90
    while not list(tmp_path.glob("runs/*/*/*/state-*.pt")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "no state was written"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGTERM, 143),
        *(pytest.param(*other, marks=pytest.mark.slow) for other in [(signal.SIGUSR2, 143), (signal.SIGINT, 130)]),
        pytest.param(
            signal.SIGKILL, -9, marks=pytest.mark.slow
        ),  # tests/reliability/ kills trainings that start faster
    ],
)
def test_a_signal_ends_a_run_and_the_same_command_continues_it(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    long = ["train.iterations=400", "train.milestones=[]", "train.test_every=400"]
    process = start(tmp_path, *long)
    wait_for_a_state(tmp_path, process)
    process.send_signal(number)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == code
    assert "Traceback" not in errors
    assert not list(tmp_path.glob("results/**/result.json"))
    again = start(tmp_path, *long)
    errors = again.communicate(timeout=240)[1]
    assert again.returncode == 0, errors
    assert "continuing at iteration" in errors
    assert len(list(tmp_path.glob("results/*/*/seed-0/result.json"))) == 1


def test_jobs_run_in_parallel(tmp_path: Path) -> None:
    process = start(tmp_path, "--seeds", "2", "execution.jobs=2", "execution.threads=1")
    errors = process.communicate(timeout=240)[1]
    assert process.returncode == 0, errors
    hashes = [
        json.loads(path.read_text())["weights_sha256"] for path in tmp_path.glob("results/*/*/seed-*/result.json")
    ]
    assert len(set(hashes)) == 2


def trained_in_double(place: Path, *words: str) -> list[list[str]]:
    """The points of the curve of a training in float64, in a new folder."""
    place.mkdir()
    process = start(place, *words, program="tests.helpers.in_double")
    errors = process.communicate(timeout=300)[1]
    assert process.returncode == 0, errors
    (path,) = place.glob("results/*/*/*/curve.csv")
    return [line.split(",") for line in path.read_text().splitlines()]


@pytest.mark.arithmetic
@pytest.mark.reliability
def test_two_processes_compute_the_training_of_one(tmp_path: Path, figure: Figure) -> None:
    """Sec. 4.2's batch over two devices. BN sees what a device holds: equal groups make them comparable.

    In float64: six updates at this rate multiply its rounding, 1e-16, by far less than a million.
    """
    words = ["model.bn_group=4", "train.lr=0.001", "train.iterations=6", "train.milestones=[]", "train.test_every=3"]
    curves = []
    for devices in (1, 2):
        place = tmp_path / str(devices)
        curves.append(trained_in_double(place, *words, f"execution.devices={devices}"))
        found = json.loads(next(place.glob("results/*/*/*/result.json")).read_text())
        assert (found["provenance"]["processes"], found["n_test"]) == (devices, 30)
        again = evaluated(place, *words, program="tests.helpers.in_double")
        assert again == found["metrics"]["test_error"]  # the net that is saved is the one that was tested
    largest = difference(tmp_path / "1", tmp_path / "2")
    what = "2 processes and 1 in float64, the same BN groups: largest difference of weights and moving averages"
    figure("T7", what, reached=f"{largest:.1e}", demanded="1e-10")
    assert largest <= 1e-10
    assert [row[3:] for row in curves[0]] == [row[3:] for row in curves[1]]  # errors in training and in tests


@pytest.mark.arithmetic
@pytest.mark.reliability
@pytest.mark.parametrize(
    "together",
    [(), pytest.param(("execution.micro_batch=2",), marks=pytest.mark.slow)],
    ids=["shares whole", "shares in parts"],
)
def test_micro_batches_compute_the_training_of_as_many_processes(
    tmp_path: Path, figure: Figure, together: tuple[str, ...]
) -> None:
    """BN over 4 (2) images with model.bn_group=device: those of a process, or of a micro-batch of one process."""
    words = ["train.lr=0.001", "train.iterations=6", "train.milestones=[]", "train.test_every=3"]
    two = trained_in_double(tmp_path / "2", *words, "execution.devices=2", *together)
    one = trained_in_double(tmp_path / "1", *words, *(together or ("execution.micro_batch=4",)))
    largest = difference(tmp_path / "1", tmp_path / "2")
    what = f"micro-batches of {2 if together else 4} on 1 process and 2 in float64: largest difference"
    figure("T7", what, reached=f"{largest:.1e}", demanded="1e-10")
    assert largest <= 1e-10
    assert [row[3:] for row in one] == [row[3:] for row in two]
