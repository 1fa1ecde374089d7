"""The command line: `python -m reproduce COMMAND RUN... [--profile P] [--seed K] [key=value ...]`."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from reproduce.cli import data, evaluate, export, inspect, score, train
from reproduce.utils.errors import CURE, UserError
from reproduce.utils.signals import watch_parent

Command = Callable[[argparse.Namespace], int]

ON_RUNS: dict[str, tuple[Command, str]] = {
    "describe": (inspect.describe, "layers, parameters, multiply-adds and the resolved configuration of a run"),
    "train": (train.train, "train what is missing, continue what was interrupted, skip what is done"),
    "submit": (train.submit, "the same as SLURM jobs, one a run, which continue after pre-emption and time limits"),
    "evaluate": (evaluate.evaluate, "test error of trained or published weights"),
    "ensemble": (evaluate.ensemble, "test error of several nets averaged (Table 5); RUN:FILE takes other weights"),
    "published": (
        evaluate.published,
        "test error of published weights (nets of configs/published.yaml, or runs)",
    ),
    "responses": (evaluate.responses, "layer responses (Fig. 7)"),
    "export": (export.export, "weights as safetensors, their sha256 and a card"),
    "sanity": (train.sanity, "a minute of checks before a long training, and a picture of its images"),
    "plan": (train.plan, "what would be trained, with hours and disk"),
    "status": (train.status, "how far the runs are"),
    "doctor": (train.doctor, "is this machine fit for training? With RUNs: is there room for them?"),
    "dashboard": (export.dashboard, "W&B views and report of a profile, from report/<profile>/artefacts.json"),
    "profile-name": (inspect.profile_name, "the results folder of a profile under these overrides"),
}
ALONE: dict[str, tuple[Command, str]] = {
    "runs": (inspect.runs, "the run ids, one a line"),
    "architectures": (inspect.architectures, "layers of every net of the paper, counted: results/architectures.json"),
    "prepare-imagenet": (data.prepare_imagenet, "ImageNet's official archives -> train/<wnid>/*, val/<wnid>/*"),
    "imagenet-shards": (data.imagenet_shards, "ImageNet's training images decoded once, into files read by mapping"),
    "check-data": (data.check_data, "is an ImageNet folder complete?"),
    "score": (score.score, "average precision of detections in files: PASCAL VOC's or COCO's"),
    "wandb-publish": (export.wandb_publish, "results that exist as files -> W&B runs; nothing twice"),
}
PATH: dict[str, Any] = {"type": Path}
FLAG: dict[str, Any] = {"action": "store_true"}
WEIGHTS = PATH, "a checkpoint instead of the run's own: ours, torchvision's, akamaster's or a-martyn's layout"
PROTOCOL: tuple[dict[str, Any], None] = {"default": "single", "choices": ["single", "10-crop", "multi-scale"]}, None
OPTIONS: dict[str, dict[str, tuple[dict[str, Any], str | None]]] = {  # of single commands
    "submit": {
        "--partition": ({}, "partition of the cluster (default: its own default)"),
        "--hours": ({"type": float, "default": 24.0}, "time limit of one start (default: 24)"),
        "--cpus": ({"type": int, "default": 8}, "CPU cores per device (default: 8)"),
        "--sbatch": ({"default": ""}, "further options of sbatch: 'account=lab mem=256G exclusive'"),
        "--cluster": ({"default": "slurm", "choices": ["slurm", "local"]}, "local: jobs as processes of this machine"),
        "--dry-run": (FLAG, "say what would be submitted"),
    },
    "evaluate": {"--weights": WEIGHTS, "--protocol": PROTOCOL},
    "responses": {"--weights": WEIGHTS},
    "ensemble": {"--protocol": PROTOCOL},
    "published": {
        "--weights": (
            {"default": "torchvision"},
            "folder that holds the files; `torchvision` downloads its own",
        ),
        "--protocol": PROTOCOL,
    },
    "dashboard": {
        "--artefacts": (PATH, "what `python -m paper_tables artefacts` wrote"),
        "--out": (PATH, "write the specifications there and send nothing"),
    },
    "runs": {"recipe": ({"nargs": "?"}, "cifar10 or imagenet (default: both)")},
    "prepare-imagenet": {
        "--root": (PATH, "where train/ and val/ are to lie"),
        "--tars": (PATH, "the folder of the archives"),
        "--labels": (PATH, "wnids of the validation images, instead of the development kit"),
        "--md5": (FLAG, "check the archives' MD5 sums first"),
    },
    "imagenet-shards": {
        "--root": (PATH, "where train/ lies"),
        "--side": ({"type": int}, "images with a longer shorter side are resized to it (480)"),
        "--shards": (PATH, "where to write them (default: shards-<side> beside train/)"),
    },
    "check-data": {
        "--root": (PATH, "where train/ and val/ lie"),
        "--decode": (FLAG, "decode every image and list what fails"),
        "--side": ({"type": int}, "look at the shards of this side, too (480 where only --shards is given)"),
        "--shards": (PATH, "where they lie (default: shards-<side> beside train/)"),
    },
    "score": {
        "--annotations": (PATH | {"required": True}, "a folder of VOC's XML files, or a COCO JSON file"),
        "--detections": (PATH | {"required": True}, "a COCO result file, or a folder of text files, one an image"),
        "--metric": ({"required": True, "choices": ["voc-11-point", "voc-area", "coco"]}, None),
        "--iou": ({"type": float}, "overlap from which a detection is right (VOC: 0.5; COCO: 0.5 to 0.95)"),
        "--images": (PATH, "score the images listed there only, as in ImageSets/Main/test.txt"),
        "--ids": (PATH, "a COCO JSON file that says what ids in a result file mean, for annotations in XML"),
        "--json": (FLAG, "the last line is one JSON object"),
    },
    "wandb-publish": {
        "runs": ({"nargs": "*", "metavar": "RUN"}, "run ids (default: every finished training of the profile)"),
        "--profile": ({"default": "paper"}, "which folder of results/ (default: paper)"),
        "--wandb": ({"default": "online", "choices": ["online", "offline"]}, "offline: for `wandb sync` (online)"),
    },
}


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
    subs = top.add_subparsers(dest="command", required=True, parser_class=Parser)
    for name, (_, text) in ON_RUNS.items():
        subs.add_parser(name, parents=[common], help=text)
    for name, (_, text) in ALONE.items():
        subs.add_parser(name, help=text)
    for name, sub in subs.choices.items():
        for option, (kind, meaning) in OPTIONS.get(name, {}).items():
            sub.add_argument(option, help=meaning, **kind)
    return top


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Run ids, overrides and options in any order (argparse alone takes its positional words in one place only)."""
    args, rest = parser().parse_known_args(argv)
    strange = [word for word in rest if word.startswith("-") or not hasattr(args, "words")]
    if strange:
        raise UserError(
            f"{args.command}: {strange[0]}: no such option; see `python -m reproduce {args.command} --help`"
        )
    if rest:
        args.words += rest
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 a run or a write failed, 2 the user's input is wrong (one line says why), 130, 141 and 143
    for a signal."""
    try:
        args = parse(argv)
        command, _ = (ON_RUNS | ALONE)[args.command]
        code = command(args)
        print(end="", flush=True)  # what cannot be written is to be known here
        return code
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package in ("", "reproduce"):
            raise  # a mistake of ours
        print(f"{package} is not installed: {CURE}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `... | head`: the reader has seen enough; what was still to be done is not done
        _end_output()
        return 128 + signal.SIGPIPE
    except OSError as error:  # a full disk, a folder that is a file
        _end_output()
        text = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        print("python -m reproduce:", " ".join(text.split()), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _end_output() -> None:
    """Print what is still held back; where that fails drop it, else Python tries again at its end and complains."""
    try:
        print(end="", flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    watch_parent()
    code = main()
    if os.environ.get("LOCAL_RANK", "0") != "0":  # the first process has the last word, and does not wait for others
        os._exit(code)
    sys.exit(code)
