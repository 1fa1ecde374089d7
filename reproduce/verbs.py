"""What each verb of the command line does; `reproduce/__main__.py` reads the words."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reproduce.errors import UserError

if TYPE_CHECKING:
    from reproduce.config import Run

# Packages from outside are imported where they are used: where one lacks, `doctor` still runs and the others say so.


def selected(args: argparse.Namespace, all_seeds: bool) -> "list[Run]":
    """The runs a command line names, one per seed. Errors: UserError when it names none."""
    from reproduce import config

    names = [word for word in args.words if "=" not in word]
    overrides = [word for word in args.words if "=" in word]
    if not names:
        raise UserError(f"{args.verb}: name at least one run; `python -m reproduce runs` lists them")
    if args.seeds is not None and args.seeds < 1:
        raise UserError(f"--seeds {args.seeds}: at least 1")
    pairs = [(name, seed) for name in dict.fromkeys(names) for seed in _seeds(args, name, overrides, all_seeds)]
    return [config.resolve(name, args.profile, overrides, seed) for name, seed in pairs]


def with_eval(runs: "Sequence[Run]") -> "list[Run]":
    """The runs under the eval.* values given, in the folder of their training: testing does not move weights."""
    from reproduce import config

    found = []
    for run in runs:
        training = [item for item in run.overrides if not item.startswith("eval.")]
        trained = config.resolve(run.name, run.base_profile, training, run.seed)
        found.append(replace(trained, config=replace(trained.config, eval=run.config.eval)))
    return found


def _seeds(args: argparse.Namespace, name: str, overrides: Sequence[str], all_seeds: bool) -> list[int | None]:
    from reproduce.config import default_seeds

    if args.seed is not None:
        return [args.seed]
    if args.seeds is not None:
        return list(range(args.seeds))
    if any(item.startswith("train.seed=") for item in overrides):
        return [None]
    return list(range(default_seeds(name) if all_seeds else 1))


def _emit(args: argparse.Namespace, value: dict[str, Any], text: str) -> None:
    print(text)
    if args.json:
        print(json.dumps(value))


def describe(args: argparse.Namespace) -> int:
    from reproduce import count
    from reproduce.build import build_net, image_size
    from reproduce.schema import flatten

    for run in selected(args, all_seeds=False):
        net = build_net(run.config)
        facts = {
            "layers": count.layers(net),
            "parameters": count.parameters(net),
            "multiply_adds": count.multiply_adds(net, image_size(run.config)),
        }
        sizes = f"{facts['parameters']:,} parameters, {facts['multiply_adds']:,} multiply-adds"
        text = f"{run.name}: {facts['layers']} layers, {sizes}"
        lines = [f"  {key}: {value}" for key, value in sorted(flatten(run.tree()).items())]
        _emit(args, {"run": run.name, **facts, "config": run.tree()}, "\n".join([text, *lines]))
    return 0


def train(args: argparse.Namespace) -> int:
    from reproduce.launch import train_all

    return train_all(selected(args, all_seeds=True))


def submit(args: argparse.Namespace) -> int:
    from reproduce.submit import Resources, submit

    resources = Resources(args.partition, args.hours, args.cpus, tuple(args.sbatch.split()))
    submit(selected(args, all_seeds=True), resources, args.cluster, args.dry_run)
    return 0


def evaluate(args: argparse.Namespace) -> int:
    from reproduce.evaluate import evaluate, launch

    runs = with_eval(selected(args, all_seeds=args.weights is None))
    fabric = launch(runs[0].config)
    for run in runs:
        found = evaluate(run, args.weights, args.protocol, fabric)
        if fabric.is_global_zero:
            _emit(args, found, f"{run.name} seed {run.seed}: {_errors(found)}")
    return 0


def _errors(found: dict[str, Any]) -> str:
    errors = f"error {found['top1_error']:.2f} %"
    if "top5_error" in found:
        errors = (
            f"top-1 error {found['top1_error']:.2f} %, top-5 error {found['top5_error']:.2f} %, {found['protocol']}"
        )
    return f"{errors} on {found['n']:,} test images ({found['data']['description']})"


def responses(args: argparse.Namespace) -> int:
    from reproduce.responses import responses

    for run in selected(args, all_seeds=False):
        values = responses(run, args.weights)
        text = f"{run.name} seed {run.seed}: std of {len(values)} layers, mean {sum(values) / len(values):.3f}"
        _emit(args, {"run": run.name, "std": values}, text)
    return 0


def export(args: argparse.Namespace) -> int:
    from reproduce.export import export

    for run in selected(args, all_seeds=True):
        print(export(run))
    return 0


def plan(args: argparse.Namespace) -> int:
    from reproduce.plan import plan

    print(plan(selected(args, all_seeds=True)))
    return 0


def _runs_of(profile: str) -> list[str]:
    """The runs of the paper that a profile is made for. Errors: UserError when there is no such profile."""
    from reproduce import config

    made: dict[str, bool] = {}
    for recipe in dict.fromkeys(map(config.recipe_of, config.runs())):
        try:
            made[recipe] = bool(config.profile_layer(profile, recipe))
        except UserError:
            made[recipe] = False
    return [name for name in config.runs() if made[config.recipe_of(name)]] or list(config.runs())


def status(args: argparse.Namespace) -> int:
    """A table, and report/status.html. Runs that are named, or all of them."""
    import time

    from reproduce import status
    from reproduce.record import write_bytes
    from reproduce.status_page import page

    overrides = [word for word in args.words if "=" in word]
    args.words = ([word for word in args.words if "=" not in word] or _runs_of(args.profile)) + overrides
    runs, now = selected(args, all_seeds=True), time.time()
    found = status.states(runs, now)
    print(status.text(found))
    path = Path("report") / "status.html"
    write_bytes(path, page(found, runs[0].profile, now).encode())
    print(f"page: {path}")
    return 0


def ensemble(args: argparse.Namespace) -> int:
    from reproduce import config
    from reproduce.ensemble import ensemble
    from reproduce.evaluate import launch

    overrides = [word for word in args.words if "=" in word]
    pairs = [word.partition(":") for word in args.words if "=" not in word]
    if not pairs:
        raise UserError("ensemble: name at least one RUN or RUN:FILE; `python -m reproduce runs` lists the runs")
    seeds = range(args.seeds) if args.seeds else [args.seed or 0]
    runs = [(seed, name, Path(file) if file else None) for name, _, file in pairs for seed in seeds]
    members = [(config.resolve(name, args.profile, overrides, seed), file) for seed, name, file in runs]
    fabric = launch(members[0][0].config)
    found = ensemble(members, args.protocol, fabric)
    if fabric.is_global_zero:
        _emit(args, found, f"{found['ensemble']}: {_errors(found)}")
    return 0


def published(args: argparse.Namespace) -> int:
    from reproduce import config
    from reproduce.evaluate import launch
    from reproduce.torchvision_weights import WEIGHTS, config_run, evaluate_published

    overrides = tuple(word for word in args.words if "=" in word)
    models = [word for word in args.words if "=" not in word] or list(WEIGHTS)
    for model in models:
        if model not in WEIGHTS:
            raise UserError(f"published: {model} is not one of {', '.join(WEIGHTS)}")
    profile = config.profile_name(args.profile, overrides, "imagenet")
    runs = [config_run(WEIGHTS[model], args.profile, overrides) for model in models]
    fabric = launch(runs[0].config)
    for model, run in zip(models, runs, strict=True):
        found = evaluate_published(WEIGHTS[model], args.weights, run, profile, args.protocol, fabric)
        if fabric.is_global_zero:
            _emit(args, found, f"{found['name']}: {_errors(found)}")
    return 0


def profile_name(args: argparse.Namespace) -> int:
    from reproduce import config

    names = [word for word in args.words if "=" not in word]
    recipe = config.recipe_of(names[0]) if names else "cifar10"
    print(config.profile_name(args.profile, [word for word in args.words if "=" in word], recipe))
    return 0


def bench(args: argparse.Namespace) -> int:
    from reproduce.bench import bench

    print(bench())
    return 0


def bench_jobs(args: argparse.Namespace) -> int:
    from reproduce.bench_jobs import bench_jobs

    print(bench_jobs())
    return 0


def architectures(args: argparse.Namespace) -> int:
    from reproduce.architectures import write

    print(write())
    return 0


def _named(args: argparse.Namespace, option: str, variable: str) -> Path:
    """The folder that an option names. Errors: UserError where it is not given."""
    folder = getattr(args, option)
    if folder is None:
        raise UserError(f"{args.verb}: name the folder: --{option} FOLDER (make ... {variable}=FOLDER)")
    return Path(folder).expanduser()


def prepare_imagenet(args: argparse.Namespace) -> int:
    from reproduce.data.prepare import prepare

    prepare(_named(args, "root", "DATA"), _named(args, "tars", "TARS"), args.labels, args.md5)
    return check_data(argparse.Namespace(verb=args.verb, root=args.root, decode=False))


def imagenet_shards(args: argparse.Namespace) -> int:
    from reproduce.data.predecode import predecode
    from reproduce.record import cores

    if not 32 <= args.side <= 4096:
        raise UserError(f"{args.verb}: --side {args.side} is not between 32 and 4096 (make ... SIDE=480)")
    shards = predecode(_named(args, "root", "DATA"), args.side, args.shards, cores())
    words = f"data.predecoded={args.side}" + (f" data.shards={shards.folder}" if args.shards else "")
    print(f"{shards.folder}: {shards.n:,} images in {len(shards):,} shards; to train from them: {words}")
    return 0


def check_data(args: argparse.Namespace) -> int:
    from reproduce.data.check import check
    from reproduce.record import cores

    return check(_named(args, "root", "DATA"), args.decode, cores())


def bench_data(args: argparse.Namespace) -> int:
    from reproduce.bench_data import bench_data

    print(bench_data(args.images))
    return 0


def dashboard(args: argparse.Namespace) -> int:
    from reproduce import dashboards

    overrides = [word for word in args.words if "=" in word]
    seeds = [args.seed] if args.seed is not None else range(args.seeds) if args.seeds else None
    return dashboards.dashboard(args.profile, overrides, seeds, args.artefacts, args.out)


def wandb_publish(args: argparse.Namespace) -> int:
    from reproduce.publish import publish

    return publish(args.profile, args.runs, args.wandb)


def bench_imagenet(args: argparse.Namespace) -> int:
    from reproduce.bench_imagenet import bench_imagenet

    print(bench_imagenet(args.root))
    return 0


def doctor(args: argparse.Namespace) -> int:
    from reproduce.doctor import diagnose, report

    if not args.words:
        return report(diagnose())
    found = diagnose("cuda" if "execution.accelerator=gpu" in args.words else None)
    if any(finding.level == "error" for finding in found):
        return report(found)  # what is needed cannot be counted without the packages
    from reproduce.needs import findings

    return report(found + findings(selected(args, all_seeds=True)))


def runs(args: argparse.Namespace) -> int:
    from reproduce import config

    if args.recipe not in (None, "cifar10", "imagenet"):
        raise UserError(f"runs: {args.recipe} is not one of cifar10, imagenet")
    print("\n".join(name for name in config.runs() if args.recipe in (None, config.recipe_of(name))))
    return 0
