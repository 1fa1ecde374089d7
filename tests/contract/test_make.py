"""The Makefile's contract, run with stand-ins for the interpreter that write down what they are asked to do."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers.environments import VARIABLES, clean_environment
from tests.helpers.figures import Figure

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
TABLES = [f"table{i}" for i in range(1, 15)]
FIGURES = [f"fig{i}" for i in range(1, 8)]
NAMED = ["help", "demo", "test", "smoke", "bench", "fig1-cifar", "fig6-cifar", "fig7-cifar", "fig3-architectures"]
NAMED += ["fig4-imagenet", "report", "check", "plan", "status", "doctor", "clean", "dashboard", "wandb-publish"]

# Writes its arguments to a log; `runs` and `profile-name` answer; FAIL="verb=code ..." makes verbs fail.
INTERPRETER = """#!/usr/bin/env bash
[ "$1" = -c ] && exit 0
shift; echo "$*" >> "$LOG"
verb="$1 $2"
for pair in $FAIL; do [ "${pair%=*}" = "${1}.${2}" ] && exit "${pair#*=}"; done
case "$verb" in
  *" runs") echo run-a; echo run-b ;;
  *" profile-name") echo paper+12345678 ;;
esac
exit 0
"""


def make(*words: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    env = clean_environment(**environment)
    return subprocess.run(["make", *words], cwd=folder, env=env, capture_output=True, text=True, timeout=60)


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


class Stages:
    """Runs targets with the stand-in and tells which stages were called, in order."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        self.python = executable(folder / "python", INTERPRETER)

    def __call__(self, *words: str, fail: str = "") -> tuple[int, list[str]]:
        self.log.write_text("")
        done = make(*words, f"PYTHON={self.python}", LOG=str(self.log), FAIL=fail)
        return done.returncode, self.log.read_text().splitlines()


@pytest.fixture
def stages(tmp_path: Path) -> Stages:
    return Stages(tmp_path)


def targets() -> list[str]:
    rules = re.findall(r"^([a-z][a-z0-9 -]*):(?!=)", MAKEFILE, re.MULTILINE)
    return sorted({name for names in rules for name in names.split()} - {"as-it-is"})


def listed(lines: list[str]) -> list[str]:
    """The targets that `make help` names, in its order: `fig1-cifar, fig1  Figure 1: ...` names two."""
    found = (re.match(r"  ([a-z][a-z0-9-]*(?:, [a-z][a-z0-9-]*)*) ", line) for line in lines)
    return [name for names in found if names for name in names[1].split(", ")]


# ---- Names ----


def test_every_promised_target_exists() -> None:
    assert set(NAMED + TABLES + FIGURES) <= set(targets())


@pytest.mark.reliability
def test_help_lists_every_target_and_variable_once(figure: Figure) -> None:
    lines = make("help").stdout.splitlines()
    named = listed(lines)
    assert sorted(named) == targets()
    variables = "\n".join(line for line in lines if re.match(r"  [A-Z]", line))
    assert [name for name in VARIABLES if not re.search(rf"\b{name}\b", variables)] == []
    assert make().stdout.splitlines() == lines  # `make` alone
    figure("T29", "targets of make with a line of help", reached=f"{len(named)} of {len(targets())}", demanded="all")


def test_help_fits_a_screen_and_a_half() -> None:
    lines = make("help").stdout.splitlines()
    assert len(lines) <= 75
    assert max(map(len, lines)) <= 120


def test_every_variable_is_explained() -> None:
    """The common ones by `make help`, all of them in docs/running.md."""
    page = (ROOT / "docs" / "running.md").read_text()
    table = "\n".join(line for line in page.splitlines() if line.startswith("| `"))
    rules = "\n".join(line for line in MAKEFILE.splitlines() if not line.startswith("#"))
    asked = set(re.findall(r"\$\(([A-Z][A-Z0-9_]*)\)", rules))
    own = set(re.findall(r"^\s*([A-Z_]+)\s*:?=", rules, re.MULTILINE)) - {"PYTHON"}
    own |= {"CURDIR", "MAKECMDGOALS", "MAKEFILE_LIST", "MAKEOVERRIDES", "VIRTUAL_ENV", "CONDA_PREFIX"}
    assert [name for name in [*VARIABLES, *sorted(asked - own)] if f"`{name}`" not in table] == []


def test_every_target_has_a_recipe() -> None:
    done = make("-n", *targets(), "PYTHON=python")
    assert done.returncode == 0, done.stderr
    assert "Nothing to be done" not in done.stdout


def test_an_unknown_target_is_an_error() -> None:
    assert make("table15", "PYTHON=true").returncode == 2


# ---- Stages ----


def test_a_table_trains_and_renders(stages: Stages) -> None:
    code, called = stages("table6")
    assert code == 0
    assert called == [
        "paper_tables runs table6",
        "reproduce train run-a run-b --profile paper",
        "paper_tables render table6 --profile paper",
    ]


@pytest.mark.parametrize("target", ["fig1-cifar", "fig1", "fig6-cifar", "fig6"])
def test_both_names_of_a_figure_do_the_same(stages: Stages, target: str) -> None:
    _, called = stages(target, "PROFILE=short")
    assert called[0] == f"paper_tables runs {target[:4]}"
    assert called[-1] == f"paper_tables render {target[:4]} --profile short"


def test_figure_7_measures_the_responses_before_it_is_drawn(stages: Stages) -> None:
    _, called = stages("fig7-cifar", "PROFILE=short", "GPUS=1")
    assert called[1:3] == [
        f"reproduce {verb} run-a run-b --profile short execution.devices=1" for verb in ("train", "responses")
    ]
    assert called[3] == "paper_tables render fig7 --profile short"


@pytest.mark.parametrize(
    ("target", "verb", "protocol"),
    [("table2", "evaluate", "10-crop"), ("table3", "evaluate", "10-crop"), ("table4", "evaluate", "multi-scale")],
)
def test_an_imagenet_table_is_evaluated_under_its_protocol(
    stages: Stages, target: str, verb: str, protocol: str
) -> None:
    code, called = stages(target, "GPUS=8")
    assert code == 0
    assert called == [
        f"paper_tables runs {target}",
        "reproduce train run-a run-b --profile paper execution.devices=8",
        f"reproduce {verb} run-a run-b --profile paper execution.devices=8 --protocol {protocol}",
        f"paper_tables render {target} --profile paper",
    ]


@pytest.mark.parametrize(("target", "protocol"), [("table2", " --protocol 10-crop"), ("table6", "")])
def test_both_kinds_of_bn_statistics_are_measured(stages: Stages, target: str, protocol: str) -> None:
    _, called = stages(target, "BN=recomputed")
    assert called[-2] == f"reproduce evaluate run-a run-b --profile paper{protocol} eval.bn_statistics=recomputed"
    assert called[-1] == f"paper_tables render {target} --profile paper"


@pytest.mark.parametrize(("target", "run"), [("footnotes-cifar", "no-warmup"), ("footnotes-imagenet", "plain-34-3x")])
def test_the_runs_of_the_footnotes_are_trained_and_the_claims_rendered(stages: Stages, target: str, run: str) -> None:
    _, called = stages(target)
    assert called[0].startswith("reproduce train ")
    assert run in called[0]
    assert called[-1] == "paper_tables render all --profile paper"


def test_table_5_is_the_ensemble_of_the_nets_of_table_4(stages: Stages) -> None:
    _, called = stages("table5")
    assert called[0] == "paper_tables runs table4"
    assert called[2] == "reproduce ensemble run-a run-b --profile paper --protocol multi-scale"
    assert called[3] == "paper_tables render table5 --profile paper"


@pytest.mark.parametrize(("target", "protocol"), [("table3", "10-crop"), ("table4", "multi-scale")])
def test_published_weights_are_evaluated_and_nothing_is_trained(stages: Stages, target: str, protocol: str) -> None:
    code, called = stages(target, "WEIGHTS=torchvision", "DATA=/images")
    assert code == 0
    [tested] = [call for call in called if call.startswith("reproduce published")]
    assert tested.startswith(
        "reproduce published torchvision-resnet34-v1 torchvision-resnet50-v1 torchvision-resnet101-v1"
    )
    assert f"--weights torchvision --protocol {protocol} --profile paper" in tested
    assert "data.root=/images" in tested
    assert "--seeds" not in tested
    assert called[-1] == f"paper_tables render {target} --profile paper"
    assert not [call for call in called if "reproduce train" in call]


@pytest.mark.parametrize(("target", "artefact"), [("table6", "table6"), ("fig6-cifar", "fig6"), ("fig7", "fig7")])
def test_published_cifar_nets_are_evaluated_and_nothing_is_trained(stages: Stages, target: str, artefact: str) -> None:
    code, called = stages(target, "WEIGHTS=/weights", "PROFILE=folder", "DATA=/images")
    assert code == 0
    assert "reproduce runs cifar10" in called
    [tested] = [call for call in called if call.startswith("reproduce published")]
    assert "--weights /weights --protocol single --profile folder" in tested
    assert "data.root=/images" in tested
    assert called[-1] == f"paper_tables render {artefact} --profile folder"
    assert not [call for call in called if call.startswith(("reproduce train", "reproduce responses"))]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("table2", "WEIGHTS=/w"), "WEIGHTS goes with table3"),
        (("table6", "footnotes-cifar", "WEIGHTS=/w"), "not with footnotes-cifar"),
        (("table6", "WEIGHTS=/w", "DRY_RUN=1"), "leave out DRY_RUN"),
        (("fig6", "WEIGHTS=/w", "SEEDS=3", "SLURM=0"), "leave out SEEDS"),
    ],
)
def test_weights_where_they_replace_nothing_are_refused(words: tuple[str, ...], told: str) -> None:
    done = subprocess.run(["make", "-n", *words], cwd=ROOT, capture_output=True, text=True, env=clean_environment())
    assert done.returncode == 2
    assert told in done.stderr
    assert "train" not in done.stdout


def test_dashboards_are_made_from_the_artefacts_of_their_profile(stages: Stages) -> None:
    _, called = stages("dashboard", "PROFILE=short", "SEEDS=3")
    assert called == [
        "paper_tables artefacts --profile short",
        "reproduce dashboard --profile short --seeds 3 --artefacts report/short/artefacts.json",
    ]
    _, called = stages("dashboard", "PRECISION=bf16", "DRY_RUN=1")
    assert called[1] == "paper_tables artefacts --profile paper+12345678"
    where = "--artefacts report/paper+12345678/artefacts.json --out report/paper+12345678/wandb"
    assert called[2] == f"reproduce dashboard --profile paper train.precision=bf16 {where}"


def test_publishing_takes_a_folder_of_results(stages: Stages) -> None:
    assert stages("wandb-publish", "PROFILE=short+bb69a637")[1] == ["reproduce wandb-publish --profile short+bb69a637"]
    _, called = stages("wandb-publish", "WANDB=offline", "SET=train.lr=0.05")
    assert called[-1] == "reproduce wandb-publish --profile paper+12345678 --wandb offline"


def test_every_variable_reaches_the_training(stages: Stages) -> None:
    given = ["GPUS=4", "NODES=2", "MICRO_BATCH=8", "JOBS=3", "SEEDS=5", "DATA=/some where", "WANDB=offline"]
    _, called = stages("table6", "PROFILE=folder", *given)
    assert called[1] == (
        "reproduce train run-a run-b --profile folder --seeds 5 data.root=/some where"
        " execution.devices=4 execution.nodes=2 execution.micro_batch=8 execution.jobs=3 execution.wandb=offline"
    )
    assert called[-1] == "paper_tables render table6 --profile folder"


@pytest.mark.parametrize("target", ["table6", "report", "check", "table2"])
def test_another_recipe_is_rendered_from_its_own_folder(stages: Stages, target: str) -> None:
    _, called = stages(target, "PRECISION=bf16", "SET=train.lr=0.05 model.stride=3x3")
    recipe = "train.precision=bf16 train.lr=0.05 model.stride=3x3"
    assert [call for call in called if re.match(rf"reproduce profile-name .*--profile paper {re.escape(recipe)}", call)]
    assert called[-1].endswith("--profile paper+12345678")
    assert all(call.endswith(recipe) for call in called if call.startswith("reproduce train"))


def test_a_dry_run_only_plans(stages: Stages) -> None:
    _, called = stages("fig7", "DRY_RUN=1", "SEEDS=2")
    assert called == ["paper_tables runs fig7", "reproduce plan run-a run-b --profile paper --seeds 2"]
    _, called = stages("table6", "DRY_RUN=0")
    assert "reproduce train run-a run-b --profile paper" in called


def test_slurm_submits_and_ends(stages: Stages) -> None:
    job = ["PARTITION=gpu", "HOURS=12", "CPUS=10", "SLURM_ARGS=account=lab --mem=256G"]
    code, called = stages("table3", "SLURM=1", "GPUS=8", "NODES=4", *job)
    assert code == 0
    assert called == [
        "paper_tables runs table3",
        "reproduce submit run-a run-b --profile paper execution.devices=8 execution.nodes=4"
        " --partition gpu --hours 12 --cpus 10 --sbatch=account=lab --mem=256G",
    ]
    _, called = stages("fig7", "SLURM=1", "DRY_RUN=1")
    assert called[1:] == ["reproduce submit run-a run-b --profile paper --dry-run"]
    assert stages("table6", "SLURM=1", fail="reproduce.submit=2")[0] == 2
    assert "reproduce train run-a run-b --profile paper" in stages("table6", "SLURM=0")[1]


@pytest.mark.parametrize("target", ["table1", *TABLES[6:], "fig2", "fig3", "fig5", "fig3-architectures"])
def test_what_has_no_training_is_printed(stages: Stages, target: str) -> None:
    code, called = stages(target)
    assert code == 0
    assert called == [f"paper_tables render {target.split('-')[0]} --profile paper"]


def test_the_demo_and_the_smoke_run_have_profiles_of_their_own(stages: Stages) -> None:
    _, called = stages("demo", "PROFILE=paper")
    nets = "cifar10-plain-56 cifar10-resnet-56 cifar10-plain-20 cifar10-resnet-20"
    assert called == [
        f"reproduce train {nets} --profile demo execution.jobs=2",
        "paper_tables render all --profile demo",
    ]
    _, called = stages("smoke")
    assert [call.split()[1] for call in called[:3]] == ["runs", "runs", "runs"]
    verbs = ["train", "evaluate", "responses", "evaluate", "evaluate", "ensemble", "render"]
    assert [call.split()[1] for call in called[3:]] == verbs
    assert all("--profile smoke" in call for call in called[3:])


@pytest.mark.parametrize("target", ["report", "check", "plan", "status", "doctor"])
def test_looking_never_trains(stages: Stages, target: str) -> None:
    code, called = stages(target)
    assert code == 0
    assert called
    assert not [call for call in called if "train" in call]


def test_sanity_checks_the_runs_that_are_named(stages: Stages) -> None:
    _, called = stages("sanity", "RUN=cifar10-resnet-20 cifar10-plain-20", "PROFILE=short", "DATA=/images")
    assert called == ["reproduce sanity cifar10-resnet-20 cifar10-plain-20 --profile short data.root=/images"]
    done = make("sanity", f"PYTHON={stages.python}", LOG=str(stages.log))
    assert done.returncode == 2
    assert "sanity: name the run: RUN=" in done.stderr


# ---- Failures ----


@pytest.mark.parametrize("word", ["BN=recomputd", "PALETTE=papre", "BN=moving recomputed"])
def test_what_only_a_last_stage_would_refuse_is_refused_before_training(stages: Stages, word: str) -> None:
    code, called = stages("fig1", word)
    assert (code, called) == (2, [])


@pytest.mark.parametrize("target", ["table6", "help", "test", "demo", "clean"])
def test_an_unknown_variable_is_one_line_before_anything_runs(stages: Stages, target: str) -> None:
    done = make(target, "PROFIL=short", f"PYTHON={stages.python}", LOG=str(stages.log))
    assert (done.returncode, done.stdout, stages.log.exists()) == (2, "", False)
    assert len(done.stderr.splitlines()) == 1
    assert "PROFIL: no such variable; did you mean PROFILE? (docs/running.md)" in done.stderr


@pytest.mark.parametrize("words", [["X=1"], ["PROFIL=short", "PYTHON3=none"]], ids=["like no other", "no python3"])
def test_an_unknown_variable_without_a_suggestion_gets_the_list(words: list[str]) -> None:
    done = make("help", *words)
    assert done.returncode == 2
    assert f"{words[0].split('=')[0]}: no such variable; there are PROFILE SEEDS SET" in done.stderr


def test_a_variable_in_small_letters_is_an_unknown_one() -> None:
    assert "profile: no such variable; did you mean PROFILE?" in make("help", "profile=short").stderr


def test_every_variable_of_the_page_is_taken() -> None:
    page = (ROOT / "docs" / "running.md").read_text()
    names = [
        name
        for line in re.findall(r"^\| (`[A-Z][^|]*)\|", page, re.MULTILINE)
        for name in re.findall("[A-Z_0-9]+", line)
    ]
    assert {*VARIABLES, "WANDB_ENTITY", "A", "FUZZ_EXAMPLES", "PYTHON3"} <= set(names)
    given = [f"{name}=1" for name in names if name not in ("BN", "PALETTE", "WEIGHTS")]
    assert make("help", *given).returncode == 0


@pytest.mark.parametrize("variable", ["DATA", "SHARDS"])
def test_a_path_is_one_word_whatever_is_in_it(stages: Stages, variable: str) -> None:
    code, called = stages("table3", f'{variable}=/it\'s a disk, "mine"; false')
    assert code == 0
    assert f'{variable.lower()}=/it\'s a disk, "mine"; false'.replace("data=", "root=") in called[1]


def test_without_run_ids_nothing_is_trained(stages: Stages) -> None:
    code, called = stages("table6", fail="paper_tables.runs=2")
    assert code == 2
    assert called == ["paper_tables runs table6"]


def test_a_failed_run_is_rendered_around_and_reported(stages: Stages) -> None:
    code, called = stages("table6", fail="reproduce.train=1")
    assert code == 2  # make turns every failure into 2
    assert called[-1].startswith("paper_tables render")


@pytest.mark.reliability
@pytest.mark.parametrize("status", [2, 130, 143])
def test_bad_input_and_signals_stop(stages: Stages, status: int, figure: Figure) -> None:
    code, called = stages("table6", fail=f"reproduce.train={status}")
    assert code == 2
    reached = f"exit {code}, nothing rendered" if len(called) == 2 else "rendered"
    figure("T29", "a target whose training is interrupted", reached=reached, demanded="exit 2, nothing rendered")
    assert len(called) == 2


@pytest.mark.parametrize("stage", ["reproduce.responses=1", "paper_tables.render=1"])
def test_a_later_stage_that_fails_is_reported(stages: Stages, stage: str) -> None:
    code, called = stages("fig7", fail=stage)
    assert code == 2
    assert called[-1].startswith("paper_tables render")


# ---- The environment ----

# As python3: makes a virtual environment of version 3.MINOR whose pip does what PIP says (an exit code).
SYSTEM_PYTHON = """#!/usr/bin/env bash
[ "$1" = -c ] && exit "${OLD:-0}"
mkdir -p .venv/bin
printf '#!/usr/bin/env bash\\n
[ "$1" = -c ] && exec python3 -c "import sys; sys.version_info = (3, ${MINOR:-11}); $2"
echo "$*" >> pip.log\\nexit $PIP\\n' > .venv/bin/python
chmod +x .venv/bin/python
"""


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A clone on a machine without any environment."""
    (tmp_path / "docs").mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "docs/running.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    executable(tmp_path / "python3", SYSTEM_PYTHON)
    return tmp_path


def test_a_fresh_machine_gets_an_environment_once(fresh: Path) -> None:
    stamp = fresh / ".venv/.installed"
    assert make("status", "PYTHON3=./python3", folder=fresh, PIP="0").returncode == 0
    calls = (fresh / "pip.log").read_text().splitlines()
    assert calls == [
        "-m pip install --editable .[dev] --constraint constraints.txt",
        "-m reproduce status --profile paper",
    ]
    assert stamp.exists()
    make("status", "PYTHON3=./python3", folder=fresh, PIP="0")
    assert "pip install" not in "".join((fresh / "pip.log").read_text().splitlines()[2:])
    os.utime(fresh / "constraints.txt", (stamp.stat().st_mtime + 10,) * 2)
    assert "pip install" in make("-n", "status", folder=fresh).stdout  # what belongs in it has changed


def test_python_3_10_is_installed_without_pins(fresh: Path) -> None:
    assert make("status", "PYTHON3=./python3", folder=fresh, PIP="0", MINOR="10").returncode == 0
    assert (fresh / "pip.log").read_text().splitlines()[0] == "-m pip install --editable .[dev]"


def test_a_broken_install_is_not_taken_for_done(fresh: Path) -> None:
    assert make("test", "PYTHON3=./python3", folder=fresh, PIP="1").returncode == 2
    assert not (fresh / ".venv/.installed").exists()
    assert "pip install" in make("-n", "test", folder=fresh).stdout


def test_an_old_python_is_one_clear_line(fresh: Path) -> None:
    done = make("demo", "PYTHON3=./python3", folder=fresh, OLD="1")
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if not line.startswith("make: ")] == [
        "./python3: Python 3.10 or newer is needed; name one: make demo PYTHON3=/path/to/python3"
    ]
    assert not (fresh / ".venv").exists()


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_an_active_environment_is_used_as_it_is(fresh: Path, variable: str) -> None:
    done = make("-n", "test", folder=fresh, **{variable: "/env"})
    assert "/env/bin/python -m pytest" in done.stdout
    assert "venv .venv" not in done.stdout
    assert "--editable" not in done.stdout


def test_an_active_environment_that_lacks_something_is_named(fresh: Path) -> None:
    bare = executable(fresh / "bare", f'#!/usr/bin/env bash\nexec "{shutil.which("python3")}" -S "$@"\n')
    done = make("report", f"PYTHON={bare}", folder=fresh)
    assert done.returncode == 2
    assert "lacks jinja2, matplotlib" in done.stderr
    assert "pip install -c constraints.txt" in done.stderr


def test_tests_are_the_last_thing_that_make_test_does() -> None:
    commands = make("-n", "test", "PYTHON=python").stdout.splitlines()
    assert [command.split()[2] for command in commands[-4:]] == ["ruff", "ruff", "mypy", "pytest"]
    assert "exec make test" in (ROOT / ".ci/run").read_text()
