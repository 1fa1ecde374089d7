"""The one exception that is the user's to repair, and how an incomplete environment is repaired."""

import sys

# The pins are for Python 3.11 and newer (see the Makefile).
PINS = "-c constraints.txt " if sys.version_info >= (3, 11) else ""
CURE = f"python -m pip install {PINS}-e '.[dev]'"
SLURM_CURE = f"python -m pip install {PINS}-e '.[train,slurm]'"


class UserError(Exception):
    """Bad input: one line that names the file or key and the cure. The command line prints it and exits 2."""

    def __init__(self, message: object):
        super().__init__(" ".join(str(message).split()))  # whatever was pasted into a name or value


def one_line(error: BaseException) -> str:
    """The first line of a message, or the kind of an error that has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
