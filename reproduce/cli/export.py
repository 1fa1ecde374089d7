"""Commands that carry results elsewhere: weights as files, results as runs, views and a report of W&B."""

import argparse

from reproduce.cli.arguments import seeds_asked, selected, words
from reproduce.tracking.dashboard import refresh


def export(args: argparse.Namespace) -> int:
    from reproduce.evaluation.export import export, tested_again

    right = True
    for run in selected(args, all_seeds=True):
        folder = export(run)
        same, text = tested_again(run, folder)
        print(f"{folder}: {text}")
        right &= same
    return 0 if right else 1


def dashboard(args: argparse.Namespace) -> int:

    _, overrides = words(args)
    return refresh.dashboard(args.profile, overrides, seeds_asked(args), args.artefacts, args.out)


def wandb_publish(args: argparse.Namespace) -> int:
    from reproduce.tracking.publish import publish

    return publish(args.profile, args.runs, args.wandb)
