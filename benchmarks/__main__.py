"""The command line: `python -m benchmarks step|variants|jobs|data|imagenet`; each writes results/bench/<name>.json."""

import argparse
import sys
from pathlib import Path

from reproduce.utils.errors import UserError
from reproduce.utils.signals import watch_parent

WHAT = {
    "step": "speed of a training step, against a common loop and against bare PyTorch",
    "variants": "speed of a step, in several variants",
    "jobs": "speed of several trainings at a time, against one alone",
    "data": "speed of ImageNet's training view, against torchvision's pipeline",
    "imagenet": "speed of ImageNet training, from memory and through the loader",
}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    chosen = made.add_subparsers(dest="name", required=True)
    parts = {name: chosen.add_parser(name, help=text) for name, text in WHAT.items()}
    parts["data"].add_argument("--images", type=Path, help="a folder or tar of images (default: synthetic ones)")
    parts["imagenet"].add_argument("--root", help="a folder in ImageNet's layout (default: synthetic ones)")
    return made


def run(options: argparse.Namespace) -> Path:
    """Measure, and give the file that holds what was measured."""
    if options.name == "step":
        from benchmarks.step import bench

        return bench()
    if options.name == "variants":
        from benchmarks.variants import bench_options

        return bench_options()
    if options.name == "jobs":
        from benchmarks.jobs import bench_jobs

        return bench_jobs()
    if options.name == "data":
        from benchmarks.data import bench_data

        return bench_data(options.images)
    from benchmarks.imagenet import bench_imagenet

    return bench_imagenet(options.root)


def main(words: list[str] | None = None) -> int:
    watch_parent()
    try:
        print(run(parser().parse_args(words)))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
