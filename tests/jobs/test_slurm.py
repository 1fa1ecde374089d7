"""SLURM jobs: what would be submitted, what is not, and that a job that was pre-empted ends with the same weights."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment

from reproduce.__main__ import main
from reproduce.config.load import resolve
from reproduce.config.run import Run
from reproduce.jobs.lock import lock
from reproduce.jobs.parallel import PYTHON
from reproduce.jobs.slurm import Resources, submit
from reproduce.training.trainer import build_trainer, environment
from tests.helpers.figures import Figure

submitit = pytest.importorskip("submitit")
ROOT = Path(__file__).resolve().parents[2]
Make = Callable[..., Run]

# Stand-ins for SLURM's commands. sbatch keeps the script; srun starts the tasks, notes their pids and ends them all
# when one of them fails (--kill-on-bad-exit) or the job is queued again.
SBATCH = '#!/bin/bash\ncp "$1" job.sh; echo "Submitted batch job 123"\n'
SCONTROL = '#!/bin/bash\n[ "$1" = requeue ] && sleep 3 && echo "$2" >> requeued\n'
SRUN = f"""#!{sys.executable}
import os, subprocess, sys, time
words = sys.argv[1:]
log, task = words[words.index("--output") + 1].replace("%j", "123"), words[words.index({sys.executable!r}):]
tasks = []
for i in map(str, range(int(os.environ["SLURM_NTASKS"]))):
    rank = {{"SLURM_PROCID": i, "SLURM_LOCALID": i}}
    file = open(log.replace("%t", i), "a")
    tasks.append(subprocess.Popen(task, env=os.environ | rank, stdout=file, stderr=file))
open("pids", "w").write(" ".join(str(task.pid) for task in tasks))
while any(task.poll() is None for task in tasks):
    failed = any(task.poll() for task in tasks)
    requeued = os.path.exists("requeued")
    if failed and not requeued:
        open("bad-exit", "w")
    if failed or requeued:
        for task in tasks:
            task.kill()
    time.sleep(0.05)
sys.exit(any(task.poll() for task in tasks))
"""


@pytest.fixture
def cluster(tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM's commands on PATH; squeue shows what the file `queue` holds."""
    squeue = '#!/bin/bash\n[ "$*" = "--me --noheader --format=%i" ] && cat queue\n'
    texts = {"sbatch": SBATCH, "scontrol": SCONTROL, "srun": SRUN, "squeue": squeue}
    for name, text in texts.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "queue").write_text("")


def wait_for(condition: Callable[[], Any], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.05)


# ---- What would be submitted ----


@pytest.mark.usefixtures("cluster")
def test_eight_gpus_on_four_nodes(capsys: pytest.CaptureFixture[str]) -> None:
    run = resolve("imagenet-resnet-34-B", "paper", ["execution.devices=8", "execution.nodes=4", "data.root=/images"])
    [job] = submit([run], Resources("gpu", 48, 10, ("account=lab", "--mem-per-cpu=8G", "exclusive")))
    folder = Path("runs/paper/imagenet-resnet-34-B/seed-0/slurm").absolute()
    script = Path("job.sh").read_text().splitlines()
    assert [line.removeprefix("#SBATCH --") for line in script if line.startswith("#SBATCH")] == [
        "account=lab",
        "cpus-per-task=10",
        "exclusive",
        "gpus-per-node=8",
        "job-name=paper/imagenet-resnet-34-B/seed-0",
        "mem-per-cpu=8G",
        "nodes=4",
        "ntasks-per-node=8",
        "open-mode=append",
        f"output={folder}/%j_0_log.out",
        "partition=gpu",
        "requeue",
        "signal=USR2@300",
        "time=2880",
        "wckey=submitit",
    ]
    started = f"{sys.executable} -u -m submitit.core._submit {folder}"
    log = f"--output {folder}/%j_%t_log.out"
    assert script[-2:] == [
        "export SUBMITIT_EXECUTOR=slurm",
        f"srun --unbuffered {log} --cpus-per-task=10 --kill-on-bad-exit=1 {started}",
    ]
    words = (
        f"{sys.executable} -m reproduce train imagenet-resnet-34-B --profile paper --seed 0 data.root=/images"
        " execution.jobs=1 execution.devices=8 execution.nodes=4 execution.threads=10 execution.workers=9"
    )
    assert job.submission().function.command == words.split()
    assert resolve("imagenet-resnet-34-B", "paper", words.split()[9:]).recipe() == run.recipe()
    told = capsys.readouterr().out
    assert "job 123: imagenet-resnet-34-B seed 0: 4 x 8 tasks, 8 GPUs a node, 10 CPUs a task, 48 h, gpu" in told
    assert "log: runs/paper/imagenet-resnet-34-B/seed-0/slurm/123_0_log.out" in told


@pytest.mark.usefixtures("cluster")
def test_what_is_done_trained_or_queued_is_not_submitted(tiny: Make, capsys: pytest.CaptureFixture[str]) -> None:
    done, trained, queued, ended = (tiny(seed=seed) for seed in range(4))
    result = Path("results") / done.folder / "result.json"
    result.parent.mkdir(parents=True)
    result.write_text(json.dumps({"provenance": {"recipe_hash": done.recipe_hash}}))
    for run, number in ((queued, 77), (ended, 76)):
        path = Path("runs") / run.folder / f"slurm/{number}_submitted.pkl"
        path.parent.mkdir(parents=True)
        path.touch()
    Path("queue").write_text("77\n78\n")
    with lock(Path("runs") / trained.folder):
        jobs = submit([done, trained, queued, ended], Resources())
    assert [job.submission().function.command[8] for job in jobs] == ["3"]  # the seed
    told = capsys.readouterr().err
    assert "seed 0: done already" in told
    assert f"seed 1: runs/{trained.folder}: is being trained by pid {os.getpid()}" in told
    assert "seed 2: is job 77 already; not submitted" in told


def test_a_dry_run_submits_nothing_and_needs_no_cluster(
    tiny: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert main(["submit", "cifar10-plain-20", "--profile", "smoke", "--seeds", "2", "--dry-run", "--hours=1"]) == 0
    told = capsys.readouterr().out
    assert told.count("would submit cifar10-plain-20 seed ") == 2
    assert re.search(r"\$ \S+ -m reproduce train cifar10-plain-20 --profile smoke --seed 1 ", told)
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--hours", "0.1"], "submit: --hours 0.1 --cpus 8: at least 0.17 hours and 1 CPU"),
        (
            ["--cluster=local", "execution.nodes=2"],
            "submit: --cluster local: is one machine; execution.nodes must be 1",
        ),
        ([], "submitit is not installed: python -m pip install"),
    ],
)
@pytest.mark.usefixtures("cluster")
def test_bad_input_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: Sequence[str], said: str
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert main(["submit", "cifar10-plain-20", "--profile", "smoke", *words]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(said)


def test_no_cluster_is_one_line(
    tiny: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert main(["submit", "cifar10-plain-20", "--profile", "smoke"]) == 2
    assert capsys.readouterr().err.startswith("sbatch: not found: submit from a node of a SLURM cluster")


@pytest.mark.usefixtures("cluster")
def test_what_sbatch_refuses_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bin/sbatch").write_text('#!/bin/bash\necho "sbatch: error: invalid\npartition" >&2; exit 1\n')
    assert main(["submit", "cifar10-plain-20", "--profile", "smoke"]) == 2
    assert capsys.readouterr().err == "cifar10-plain-20 seed 0: sbatch: error: invalid partition\n"


# ---- What Lightning makes of SLURM's variables ----


def slurm(monkeypatch: pytest.MonkeyPatch, tasks: int, nodes: int, rank: int = 0) -> None:
    per_node = tasks // nodes
    values = {"NTASKS": tasks, "NTASKS_PER_NODE": per_node, "NNODES": nodes, "JOB_ID": 123, "PROCID": rank}
    values |= {"LOCALID": rank % per_node, "NODEID": rank // per_node}
    for key, value in values.items():
        monkeypatch.setenv(f"SLURM_{key}", str(value))


def test_ranks_come_from_slurm_and_lightning_does_not_requeue(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm(monkeypatch, tasks=32, nodes=4, rank=13)
    words = ["execution.devices=8", "execution.nodes=4", "train.batch_size=32", "execution.accelerator=cpu"]
    trainer = build_trainer(tiny(overrides=words).config, [], None)
    found = trainer.strategy.cluster_environment  # type: ignore[attr-defined]
    assert isinstance(found, SLURMEnvironment)
    assert found.auto_requeue is False
    assert SLURMEnvironment().auto_requeue is True  # what Lightning would have chosen
    ranks = (trainer.world_size, trainer.global_rank, trainer.local_rank, trainer.node_rank)
    assert ranks == (32, 13, 5, 1)


def test_who_starts_the_processes(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = tiny().config, tiny(overrides=["execution.devices=2"]).config
    assert environment(two) is None  # Lightning decides
    slurm(monkeypatch, tasks=1, nodes=1)
    assert isinstance(environment(one), SLURMEnvironment)
    assert isinstance(environment(two), LightningEnvironment)  # an allocation of one task
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    assert environment(two) is None


# ---- Jobs ----

LONG = ("train.iterations=150", "train.milestones=[100]", "train.test_every=150", "execution.checkpoint_seconds=1000")


def outcome(folder: Path, run: Run) -> tuple[str, int]:
    """Weights, and how many times the training was continued."""
    found = json.loads((folder / "results" / run.folder / "result.json").read_text())
    return found["weights_sha256"], found["provenance"]["resumed"]


def undisturbed(run: Run, folder: Path) -> str:
    folder.mkdir()
    subprocess.run(
        [*PYTHON, *run.arguments()], cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, timeout=600
    )
    return outcome(folder, run)[0]


def has_begun(run: Run) -> bool:
    return (Path("runs") / run.folder / "progress.json").exists()


def task_of(job: Any) -> int:
    """The process that submitit's controller has started (LocalJob._interrupt would only end the controller)."""
    return int(Path(f"/proc/{job.job_id}/task/{job.job_id}/children").read_text().split()[0])


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_a_job_that_is_pre_empted_ends_with_the_same_weights(
    tiny: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, devices: int
) -> None:
    """submitit's local executor; no state is saved but for the signal's sake."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    run = tiny(overrides=[*LONG, f"execution.devices={devices}"])
    [job] = submit([run], Resources(), "local")
    wait_for(lambda: has_begun(run))
    os.kill(task_of(job), signal.SIGUSR2)
    assert job.results() == [None]
    log = job.stdout()
    assert re.search(r"continuing at iteration [1-9]", log), log
    assert log.count("Calling checkpoint method") == 1
    assert outcome(Path(), run) == (undisturbed(run, tmp_path / "straight"), 1)
    assert submit([run], Resources(), "local") == []


@pytest.mark.slow
@pytest.mark.reliability
@pytest.mark.usefixtures("cluster")
def test_two_tasks_under_srun_stop_together_and_are_queued_again_once(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    """The submitted script itself, over stand-ins for SLURM: every task gets the signal, task 0 acts on it."""
    run = tiny(overrides=[*LONG, "execution.devices=2", "execution.accelerator=cpu"])
    [job] = submit([run], Resources(cpus=1))
    slurm(monkeypatch, tasks=2, nodes=1)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    first = subprocess.Popen(["bash", "job.sh"])
    wait_for(lambda: has_begun(run))
    for pid in Path("pids").read_text().split():
        os.kill(int(pid), signal.SIGUSR2)
    first.wait(300)
    assert Path("requeued").read_text() == "123\n"
    assert not Path("bad-exit").exists()  # task 1 outlived its training until then
    assert not (Path("results") / run.folder / "result.json").exists()
    Path("requeued").unlink()
    assert subprocess.run(["bash", "job.sh"], timeout=600).returncode == 0, job.stdout()
    assert re.search(r"continuing at iteration [1-9]", job.task(0).stdout())
    for name in [key for key in os.environ if key.startswith(("SLURM_", "MASTER_"))]:
        monkeypatch.delenv(name)
    identical = outcome(Path(), run) == (undisturbed(run, tmp_path / "straight"), 1)
    reached = f"queued again once, {'identical' if identical else 'different'}"
    figure("T12", "SIGUSR2 to 2 tasks, a stand-in for scontrol", reached=reached, demanded="once, identical")
    assert identical


@pytest.mark.slow
def test_scancel_saves_and_does_not_queue_again(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM: the training ends in order, and its job waits for SLURM to end it."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    run = tiny(overrides=[*LONG, "train.iterations=1000"])
    [job] = submit([run], Resources(), "local")
    wait_for(lambda: has_begun(run))
    task = task_of(job)
    os.kill(task, signal.SIGTERM)
    wait_for(lambda: "stopped by SIGTERM" in (job.stdout() or ""), 60)
    assert len(list((Path("runs") / run.folder).glob("state-*.pt"))) == 1
    assert task_of(job) == task
    os.kill(task, signal.SIGKILL)
    wait_for(job.done, 60)
    assert job.stdout().count("$ ") == 1


@pytest.mark.slow
def test_a_training_that_fails_fails_its_job(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    run = tiny(overrides=["data.source=folder", "data.root=nowhere"])
    [job] = submit([run], Resources(), "local")
    assert "exit code 2; the lines before say why" in str(job.exception())
    assert "nowhere" in job.stdout()
