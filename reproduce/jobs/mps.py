"""NVIDIA's Multi-Process Service: trainings on one GPU compute at the same time, where they would else take turns."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from reproduce.utils.console import log

CONTROL = "nvidia-cuda-mps-control"
PATIENCE = 30.0  # seconds for the daemon to come up, or to leave


@contextmanager
def mps() -> Iterator[dict[str, str]]:
    """A daemon of our own, for as long as the block; yields what its clients must find in their environment.

    Where it cannot be had a line says why, nothing is yielded, and processes take turns on the GPU as usual.
    """
    with tempfile.TemporaryDirectory(prefix="mps-", ignore_cleanup_errors=True) as folder:
        environment = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        try:
            if trouble := _begin(environment):
                log(f"execution.mps: {trouble}; the runs take turns on the GPU")
            yield {} if trouble else environment
        finally:
            _control(environment, "quit\n")  # without effect where none began


def _begin(environment: dict[str, str]) -> str:
    """Start the daemon; what was wrong, if something was."""
    if shutil.which(CONTROL) is None:
        return f"{CONTROL} is not installed (it comes with NVIDIA's driver)"
    return _control(environment, "", "-d")


def _control(environment: dict[str, str], text: str, *options: str) -> str:
    """Run the control program; what was wrong, if something was."""
    given = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}  # it serves all of them
    run = partial(
        subprocess.run, env=given | environment, timeout=PATIENCE, start_new_session=True
    )  # Ctrl-C is not for it
    try:
        with tempfile.TemporaryFile("w+", errors="replace") as out:  # no pipe: a daemon may keep its end of one open
            code = run([CONTROL, *options], input=text, text=True, stdout=out, stderr=out).returncode
            out.seek(0)
            answer = out.read().strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return next(iter(answer.splitlines()), f"{CONTROL}: exit code {code}") if code else ""
