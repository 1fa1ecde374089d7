"""`make doctor`: each known trap of an environment is one line, and an error is exit code 2."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from reproduce.jobs import doctor
from tests.helpers.figures import Figure

GOOD = {"torch": "2.13.0", "torchvision": "0.28.0", "lightning": "2.6.6", "omegaconf": "2.4.0", "wandb": "0.31.0"}
REQUIRES = {"0.25.0": "torch==2.10.0", "0.28.0": "torch (==2.13.0)", "0.29.2": "torch>=2.14.0"}


def fake_torch(cuda: str | None = None, gpu: bool = False, bf16: bool = True) -> Any:
    device = SimpleNamespace(
        is_available=lambda: gpu,
        device_count=lambda: int(gpu),
        get_device_name=lambda i: "NVIDIA H200",
        is_bf16_supported=lambda including_emulation: bf16,
    )
    return SimpleNamespace(__version__="2.13.0", version=SimpleNamespace(cuda=cuda), cuda=device)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[doctor.Finding]]:
    """Diagnose a machine that is sound but for the given versions (None: not installed), modules and device."""

    def diagnose(
        torch: Any = None,
        imports: str | None = None,
        driver: bool = False,
        wanted: str | None = None,
        **versions: str | None,
    ) -> list[doctor.Finding]:
        installed = GOOD | {name.removesuffix("_version"): found for name, found in versions.items()}

        def load(name: str) -> ModuleType | str:
            return (torch or fake_torch()) if name == "torch" else imports or ModuleType(name)

        def requires(name: str) -> list[str]:
            release = (installed[name] or "").split("+")[0]
            return ["numpy", REQUIRES[release], "gdown; extra == 'gdown'"]

        monkeypatch.setattr(doctor, "version", installed.get)
        monkeypatch.setattr(doctor, "load", load)
        monkeypatch.setattr(doctor, "has_driver", lambda: driver)
        monkeypatch.setattr(doctor.metadata, "requires", requires)
        return doctor.diagnose(wanted, tmp_path)

    return diagnose


def errors(findings: list[doctor.Finding]) -> list[str]:
    return [finding.text for finding in findings if finding.level == "error"]


def test_a_sound_machine_has_no_error(
    machine: Callable[..., list[doctor.Finding]], capsys: pytest.CaptureFixture[str]
) -> None:
    findings = machine()
    assert errors(findings) == []
    assert doctor.report(findings) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(findings)  # one line each


@pytest.mark.reliability
@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ({"torch_version": "2.13.0+cpu", "torchvision": "0.28.0+cu130"}, "different builds"),
        ({"torch_version": "2.11.0"}, "do not fit"),
        ({"torchvision": "0.29.2"}, "do not fit"),
        ({"lightning": "2.6.2"}, "steals credentials"),
        ({"lightning": "2.6.3"}, "steals credentials"),
        ({"lightning": "2.6.5"}, "outside the tested range"),
        ({"lightning": "3.0.0"}, "outside the tested range"),
        ({"torch_version": "2.9.1", "torchvision": "0.25.0"}, "torch 2.9.1 is outside the tested range"),
        ({"torch_version": "2.99.0", "torchvision": "0.29.2"}, "torch 2.99.0 is outside the tested range"),
        ({"torch_version": None}, "torch is not installed"),
        ({"omegaconf": None}, "omegaconf is not installed"),
    ],
)
def test_a_bad_environment_is_named(
    machine: Callable[..., list[doctor.Finding]], versions: dict[str, str | None], expected: str, figure: Figure
) -> None:
    findings = machine(**versions)
    assert any(expected in text for text in errors(findings)), findings
    assert all("\n" not in str(finding) for finding in findings)
    code = doctor.report(findings)
    what = "doctor: packages that do not fit, are malicious, untested or missing"
    figure("T30", what, reached=f"one line, exit {code}", demanded="one line, exit 2")
    assert code == 2


@pytest.mark.parametrize(
    "versions",
    [
        {"torch_version": "2.13.0+cpu", "torchvision": "0.28.0+cpu"},
        {"torch_version": "2.15.0", "torchvision": "0.29.2"},
        {"torch_version": "2.10.0+cu130", "torchvision": "0.25.0"},
        {"wandb": None},
    ],
)
def test_a_good_environment_is_left_alone(
    machine: Callable[..., list[doctor.Finding]], versions: dict[str, str | None]
) -> None:
    assert errors(machine(**versions)) == []


def test_a_pair_that_fails_on_import_is_named(machine: Callable[..., list[doctor.Finding]]) -> None:
    (text,) = errors(machine(imports="RuntimeError: operator torchvision::nms does not exist"))
    assert "torchvision::nms" in text
    assert "one index" in text


def test_load_says_why_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "broken_build.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist\\nand more')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert doctor.load("broken_build") == "RuntimeError: operator torchvision::nms does not exist"
    assert "ModuleNotFoundError" in str(doctor.load("no_such_module_here"))


@pytest.mark.parametrize(
    ("torch", "driver", "expected"),
    [
        (fake_torch(cuda="13.0"), False, "no NVIDIA driver"),
        (fake_torch(cuda=None), True, "a build without CUDA"),
        (fake_torch(cuda="13.0"), True, "may be too old for CUDA 13.0"),
    ],
)
def test_cuda_asked_for_and_absent_is_an_error(
    machine: Callable[..., list[doctor.Finding]], torch: Any, driver: bool, expected: str
) -> None:
    (text,) = errors(machine(torch=torch, driver=driver, wanted="cuda"))
    assert expected in text
    unasked = machine(torch=torch, driver=driver)
    assert errors(unasked) == []  # nobody asked: the CPU will do, but a GPU that lies idle is worth a warning
    assert any(finding.level == "warning" for finding in unasked) == driver


def test_a_gpu_is_named_with_its_bf16(machine: Callable[..., list[doctor.Finding]]) -> None:
    def line(bf16: bool) -> str:
        return next(
            f.text for f in machine(torch=fake_torch("13.0", gpu=True, bf16=bf16), wanted="cuda:0") if "GPU" in f.text
        )

    assert line(bf16=True) == "1 GPU: NVIDIA H200; bf16 native"
    assert "emulated" in line(bf16=False)


@pytest.mark.parametrize(("free", "level"), [(0.5e9, "error"), (2e9, "warning"), (50e9, "ok")])
def test_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: float, level: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    assert doctor.disk(tmp_path).level == level


def test_old_python_and_too_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4096")
    assert doctor.cpu().level == "warning"
    monkeypatch.setattr(sys, "version_info", (3, 9, 0))
    assert doctor.python().level == "error"


def test_this_environment_passes() -> None:
    assert errors(doctor.diagnose()) == []


# ---- Room for what is to be trained ----


def run_of(name: str, *overrides: str) -> Any:
    from reproduce.config.load import resolve

    return resolve(name, "paper", ["execution.devices=1", "execution.accelerator=cpu", *overrides])


def test_memory_grows_with_the_net_and_the_batch_and_is_held_against_what_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from reproduce.jobs import room
    from reproduce.models.build import build_net
    from reproduce.models.complexity import parameters

    small, large = run_of("cifar10-resnet-20"), run_of("cifar10-resnet-110")
    assert room.step_gigabytes(large, "fp32") > 4 * room.step_gigabytes(small, "fp32") > 0
    half = run_of("cifar10-resnet-20", "train.batch_size=64")
    assert room.step_gigabytes(small, "fp32") > 1.8 * room.step_gigabytes(half, "fp32")
    parts = run_of("cifar10-resnet-20", "execution.micro_batch=64")
    gradients = 4 * parameters(build_net(small.config)) / 1e9  # of the micro-batches before
    assert room.step_gigabytes(parts, "fp32") == pytest.approx(room.step_gigabytes(half, "fp32") + gradients)
    monkeypatch.setattr(room, "available_gigabytes", lambda: 2.0)
    found = room.memory([small, large])
    assert found.level == "error"
    assert "cifar10-resnet-110" in found.text
    monkeypatch.setattr(room, "available_gigabytes", lambda: 1000.0)
    assert room.memory([small, large]).level == "ok"


def test_runs_on_one_gpu_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from reproduce.jobs import room

    def by_depth_and_batch(run: Any, precision: str) -> float:
        return float(run.config.model.depth * run.config.train.batch_size / 20_000)

    monkeypatch.setattr(room, "step_gigabytes", by_depth_and_batch)

    def found(gpus: int, *words: str) -> Any:
        monkeypatch.setattr(room, "_gpus_gigabytes", lambda: [16.0] * gpus)
        words = "execution.accelerator=auto", "execution.jobs=4", *words
        return room.memory([run_of(f"cifar10-resnet-{depth}", *words) for depth in (20, 32, 44, 110)])

    four = "4 process(es) for cifar10-resnet-110, cifar10-resnet-44, cifar10-resnet-32, cifar10-resnet-20"
    assert f"of memory on a GPU, for {four} (batch 128, fp32), 16.0 GB there" in found(1).text
    assert "; 2.4 GB of these, for CUDA's context and workspaces, are assumed, not measured" in found(1).text
    assert "assumed" not in room.memory([run_of("cifar10-resnet-20")]).text  # on a CPU
    assert "for 2 process(es) for cifar10-resnet-110, cifar10-resnet-44 (" in found(2).text
    assert float(found(2).text.split()[0]) < float(found(1).text.split()[0])
    assert (
        "(batch 128, bf16, recomputing)"
        in found(2, "train.precision=bf16", "execution.activation_checkpointing=true").text
    )
    tight = found(1, "train.batch_size=1280")
    assert tight.level == "error"
    assert "SET=execution.activation_checkpointing=true" in tight.text
    assert (
        "SET=execution.activation_checkpointing"
        not in found(1, "train.batch_size=12800", "execution.activation_checkpointing=true").text
    )


def test_disk_for_what_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from reproduce.jobs import room

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1e6))
    runs = [run_of("cifar10-resnet-20"), run_of("cifar10-resnet-56")]
    assert room.disk(runs, tmp_path).level == "error"
    assert "2 runs" in room.disk(runs, tmp_path).text
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1e12))
    assert room.disk(runs, tmp_path).level == "ok"


def test_loader_workers_need_shared_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two shares of 256 crops a worker: 38.5 MB each. Docker gives 64 MB."""
    from reproduce.jobs import room

    monkeypatch.chdir(tmp_path)

    def found(free: float, *words: str, name: str = "imagenet-resnet-50") -> Any:
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
        return room.shared_memory([run_of(name, "train.batch_size=256", *words)], tmp_path)

    docker = found(64e6, "execution.workers=8")
    assert docker.level == "error"
    assert docker.text == (
        f"0.62 GB of shared memory for 8 loader workers, 0.06 GB free in {tmp_path}: "
        "docker run --shm-size=1g (Docker's default is 64 MB), or SET=execution.workers=0 (slower)"
    )
    assert found(64e6, "execution.workers=1").level == "error"
    assert found(64e9, "execution.workers=8").level == "ok"
    assert "0.31 GB of shared memory for 8" in found(64e9, "execution.workers=4", "execution.devices=2").text
    assert found(64e6, "execution.workers=0") is None
    assert found(64e6, name="cifar10-resnet-20") is None
    run = run_of("imagenet-resnet-50", "execution.workers=8")
    assert room.shared_memory([run], tmp_path / "none") is None  # not Linux
    monkeypatch.setattr(room, "shared_memory", lambda runs: docker)
    assert room.findings([run], tmp_path)[-1] is docker


def test_the_machine_has_memory() -> None:
    from reproduce.jobs.room import available_gigabytes

    assert 0.01 < available_gigabytes() < 100_000


def test_doctor_takes_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from reproduce.__main__ import main

    monkeypatch.chdir(tmp_path)
    assert main(["doctor", "cifar10-resnet-20", "--profile", "smoke"]) == 0
    assert "of memory for 1 process(es) for cifar10-resnet-20" in capsys.readouterr().out
