"""Commands of training: is there room for it, what would it take, do it, and how far is it?"""

import argparse
import json
from functools import partial
from pathlib import Path

from reproduce.cli.arguments import resolved, selected, words
from reproduce.utils.errors import UserError


def doctor(args: argparse.Namespace) -> int:
    from reproduce.jobs.doctor import Finding, diagnose, report

    found = diagnose("cuda" if "execution.accelerator=gpu" in args.words else None)
    if any(finding.level == "error" for finding in found):
        return report(found)  # what is needed cannot be counted without the packages
    from reproduce.jobs.estimate import forecast
    from reproduce.jobs.room import findings

    if args.words:
        return report(found + findings(selected(args, all_seeds=True)))
    return report([*found, Finding("ok", forecast())])


def plan(args: argparse.Namespace) -> int:
    from reproduce.jobs.estimate import plan

    print(plan(selected(args, all_seeds=True)))
    return 0


def train(args: argparse.Namespace) -> int:
    from reproduce.jobs.runner import train_all

    return train_all(selected(args, all_seeds=True))


def sanity(args: argparse.Namespace) -> int:
    """Exit code 1 where something is wrong."""
    from reproduce.jobs.sanity import passed

    found = {}
    for run in selected(args, all_seeds=False):
        label = f"{run.name} seed {run.seed}"
        print(f"{label}:", flush=True)
        found[label] = passed(run, partial(print, flush=True))
    if args.json:
        print(json.dumps(found))
    return 0 if all(all(checks.values()) for checks in found.values()) else 1


def submit(args: argparse.Namespace) -> int:
    from reproduce.jobs.slurm import Resources, submit

    resources = Resources(args.partition, args.hours, args.cpus, tuple(args.sbatch.split()))
    submit(selected(args, all_seeds=True), resources, args.cluster, args.dry_run)
    return 0


def status(args: argparse.Namespace) -> int:
    """A table, and report/status.html. Runs that are named, or all of them."""
    import time

    from reproduce.jobs import status
    from reproduce.jobs.status import page
    from reproduce.utils.files import write_bytes

    names, overrides = words(args)
    runs, now = resolved(args, names or _runs_of(args.profile), overrides, all_seeds=True), time.time()
    found = status.states(runs, now)
    print(status.text(found))
    path = Path("report") / "status.html"
    write_bytes(path, page(found, runs[0].profile, now).encode())
    print(f"page: {path}")
    return 0


def _runs_of(profile: str) -> list[str]:
    """The runs that a profile is made for: those of the recipes it says something about, all where it says nothing."""
    from reproduce.config import load

    made: dict[str, bool] = {}
    for recipe in load.recipes():
        try:
            made[recipe] = bool(load.profile_layer(profile, recipe))
        except UserError:
            made[recipe] = False
    return [name for name in load.runs() if made[load.recipe_of(name)]] or list(load.runs())
