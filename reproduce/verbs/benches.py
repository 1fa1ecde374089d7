"""Verbs that time our own code."""

import argparse


def bench(args: argparse.Namespace) -> int:
    from reproduce.bench import bench

    print(bench())
    return 0


def bench_data(args: argparse.Namespace) -> int:
    from reproduce.bench_data import bench_data

    print(bench_data(args.images))
    return 0


def bench_imagenet(args: argparse.Namespace) -> int:
    from reproduce.bench_imagenet import bench_imagenet

    print(bench_imagenet(args.root))
    return 0


def bench_jobs(args: argparse.Namespace) -> int:
    from reproduce.bench_jobs import bench_jobs

    print(bench_jobs())
    return 0


def bench_options(args: argparse.Namespace) -> int:
    from reproduce.bench_options import bench_options

    print(bench_options())
    return 0
