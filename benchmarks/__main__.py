"""The command line: `python -m benchmarks step|variants|jobs|data|imagenet`; each writes a file of results/bench/."""

import argparse
import sys
from importlib import import_module
from pathlib import Path

from reproduce.utils.errors import UserError
from reproduce.utils.signals import watch_parent

COMMANDS = {  # a module of this package, each with a function `bench`
    "step": "speed of a training step, against a common loop and against bare PyTorch",
    "variants": "speed of a step, executed in several ways",
    "jobs": "speed of several trainings at a time, against one alone",
    "data": "speed of ImageNet's training view, against torchvision's pipeline",
    "imagenet": "speed of ImageNet training, from memory and through the loader",
}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    chosen = made.add_subparsers(dest="command", required=True)
    parts = {name: chosen.add_parser(name, help=text) for name, text in COMMANDS.items()}
    parts["data"].add_argument("--images", type=Path, help="a folder or tar of images (default: synthetic ones)")
    parts["imagenet"].add_argument("--root", help="a folder in ImageNet's layout (default: synthetic ones)")
    return made


def main(words: list[str] | None = None) -> int:
    watch_parent()
    given = vars(parser().parse_args(words))
    try:
        print(import_module(f"benchmarks.{given.pop('command')}").bench(**given))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
