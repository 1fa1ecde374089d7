"""The environment of processes that tests start."""

import os


def clean_environment(**extra: str) -> dict[str, str]:
    """Without what a surrounding make or an active environment would add."""
    dropped = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "VIRTUAL_ENV", "CONDA_PREFIX", "PYTHON", *VARIABLES}
    return {key: value for key, value in os.environ.items() if key not in dropped} | extra


VARIABLES = [
    "PROFILE",
    "GPUS",
    "NODES",
    "JOBS",
    "SEEDS",
    "DATA",
    "PRECISION",
    "SET",
    "WEIGHTS",
    "WANDB",
    "SLURM",
    "PARTITION",
    "HOURS",
    "CPUS",
    "SLURM_ARGS",
    "DRY_RUN",
    "PYTHON",
]
