"""The command line: `python -m reproduce VERB RUN... [--profile P] [--seed K] [key=value ...]`."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reproduce.errors import CURE, UserError

if TYPE_CHECKING:
    from reproduce.config import Run

# Packages from outside are imported where they are used: where one lacks, `doctor` still runs and the others say so.


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other command here does."""

    def error(self, message: str) -> Any:
        raise UserError(f"{self.prog}: {message}")


def parser() -> argparse.ArgumentParser:
    common = Parser(add_help=False)
    common.add_argument("words", nargs="*", metavar="RUN | key=value", help="run ids (see `runs`) and overrides")
    common.add_argument("--profile", default="paper", help="a file of configs/profiles/ (default: paper)")
    which = common.add_mutually_exclusive_group()
    which.add_argument("--seed", type=int, help="one seed")
    which.add_argument("--seeds", type=int, help="seeds 0..N-1 (default: as in configs/runs.yaml)")
    common.add_argument("--json", action="store_true", help="the last line is one JSON object")
    top = Parser(prog="python -m reproduce", description=__doc__)
    verbs = top.add_subparsers(dest="verb", required=True, parser_class=Parser)
    verbs.add_parser("runs", help="the run ids, one a line")
    for verb, text in VERBS.items():
        sub = verbs.add_parser(verb, parents=[common], help=text)
        if verb in ("evaluate", "responses"):
            layouts = "a checkpoint instead of the run's own: ours, torchvision's or akamaster's layout"
            sub.add_argument("--weights", type=Path, help=layouts)
        if verb == "evaluate":
            sub.add_argument("--protocol", default="single", choices=["single", "10-crop", "multi-scale"])
    verbs.add_parser("doctor", help="is this machine fit for training?")
    _add_imagenet_verbs(verbs)
    return top


def _add_imagenet_verbs(verbs: Any) -> None:
    sub = verbs.add_parser("prepare-imagenet", help="ImageNet's official archives -> train/<wnid>/*, val/<wnid>/*")
    sub.add_argument("--root", type=Path, help="where train/ and val/ are to lie")
    sub.add_argument("--tars", type=Path, help="the folder of the archives")
    sub.add_argument("--labels", type=Path, help="wnids of the validation images, instead of the development kit")
    sub.add_argument("--md5", action="store_true", help="check the archives' MD5 sums first")
    sub = verbs.add_parser("check-data", help="is an ImageNet folder complete?")
    sub.add_argument("--root", type=Path, help="where train/ and val/ lie")
    sub.add_argument("--decode", action="store_true", help="decode every image and list what fails")
    sub = verbs.add_parser("bench-data", help="speed of ImageNet's training view, against torchvision's pipeline")
    sub.add_argument("--images", type=Path, help="a folder or tar of images (default: the embedded ones)")


VERBS = {
    "describe": "layers, parameters, multiply-adds and the resolved configuration of a run",
    "train": "train what is missing, continue what was interrupted, skip what is done",
    "evaluate": "test error of trained or published weights",
    "responses": "layer responses (Fig. 7)",
    "export": "weights as safetensors, their sha256 and a card",
    "plan": "what would be trained, with hours and disk",
    "status": "how far the runs are",
    "bench": "speed of a training step, against the usual loop and against bare PyTorch",
    "profile-name": "the results folder of a profile under these overrides",
}


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
    from reproduce.schema import flatten
    from reproduce.train import build_net

    for run in selected(args, all_seeds=False):
        net = build_net(run.config)
        size = 32 if run.config.net.stem == "cifar" else 224
        facts = {
            "layers": count.layers(net),
            "parameters": count.parameters(net),
            "multiply_adds": count.multiply_adds(net, size),
        }
        sizes = f"{facts['parameters']:,} parameters, {facts['multiply_adds']:,} multiply-adds"
        text = f"{run.name}: {facts['layers']} layers, {sizes}"
        lines = [f"  {key}: {value}" for key, value in sorted(flatten(run.tree()).items())]
        _emit(args, {"run": run.name, **facts, "config": run.tree()}, "\n".join([text, *lines]))
    return 0


def train(args: argparse.Namespace) -> int:
    from reproduce.launch import train_all

    return train_all(selected(args, all_seeds=True))


def evaluate(args: argparse.Namespace) -> int:
    from reproduce.evaluate import evaluate

    for run in with_eval(selected(args, all_seeds=args.weights is None)):
        found = evaluate(run, args.weights, args.protocol)
        images = f"{found['n']:,} test images ({found['data']['description']})"
        text = f"{run.name} seed {run.seed}: error {found['top1_error']:.2f} % on {images}"
        _emit(args, found, text)
    return 0


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


def status(args: argparse.Namespace) -> int:
    from reproduce import config
    from reproduce.plan import status

    args.words = [word for word in args.words if "=" not in word] or list(config.runs())
    print(status(selected(args, all_seeds=True)))
    return 0


def profile_name(args: argparse.Namespace) -> int:
    from reproduce import config

    print(config.profile_name(args.profile, [word for word in args.words if "=" in word]))
    return 0


def bench(args: argparse.Namespace) -> int:
    from reproduce.bench import bench

    bench()
    return 0


def named(args: argparse.Namespace, option: str, variable: str) -> Path:
    """The folder that an option names. Errors: UserError where it is not given."""
    folder = getattr(args, option)
    if folder is None:
        raise UserError(f"{args.verb}: name the folder: --{option} FOLDER (make ... {variable}=FOLDER)")
    return Path(folder).expanduser()


def prepare_imagenet(args: argparse.Namespace) -> int:
    from reproduce.data.prepare import prepare

    prepare(named(args, "root", "DATA"), named(args, "tars", "TARS"), args.labels, args.md5)
    return check_data(argparse.Namespace(verb=args.verb, root=args.root, decode=False))


def check_data(args: argparse.Namespace) -> int:
    from reproduce.data.check import check
    from reproduce.record import cores

    return check(named(args, "root", "DATA"), args.decode, cores())


def bench_data(args: argparse.Namespace) -> int:
    from reproduce.bench_data import bench_data

    bench_data(args.images)
    return 0


def doctor(args: argparse.Namespace) -> int:
    from reproduce.doctor import diagnose, report

    return report(diagnose())


def runs(args: argparse.Namespace) -> int:
    from reproduce import config

    print("\n".join(config.runs()))
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Run ids, overrides and options in any order (argparse alone takes its positional words in one place only)."""
    args, rest = parser().parse_known_args(argv)
    strange = [word for word in rest if word.startswith("-") or not hasattr(args, "words")]
    if strange:
        raise UserError(f"{args.verb}: {strange[0]}: no such option; see `python -m reproduce {args.verb} --help`")
    if rest:
        args.words += rest
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 a run failed, 2 the user's input is wrong (one line says why), 130 and 143 for a signal."""
    try:
        args = parse(argv)
        command = globals()[args.verb.replace("-", "_")]
        return int(command(args))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package in ("", "reproduce"):
            raise  # a mistake of ours
        print(f"{package} is not installed: {CURE}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
