"""The command that computes average precision from files of annotations and detections."""

import argparse

from reproduce.cli.arguments import emit


def score(args: argparse.Namespace) -> int:
    from reproduce.evaluation.score import score

    found = score(args.annotations, args.detections, args.metric, args.iou, args.images, args.ids)
    emit(args, found.json(), found.text())
    return 0
