"""State of a training on disk: written whole or not at all, the newest valid one is used, one process at a time."""

import fcntl
import io
import os
import pickle
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from reproduce.errors import UserError
from reproduce.record import say, write_bytes

KEEP = 2  # the newest, and one to fall back on


def _path(folder: Path, iteration: int) -> Path:
    return folder / f"state-{iteration:08d}.pt"


def save(folder: Path, state: dict[str, Any]) -> Path:
    """Write a state and drop all but the newest KEEP. Errors: OSError (a full disk leaves the previous states)."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    path = _path(folder, state["iteration"])
    write_bytes(path, buffer.getvalue())
    for old in sorted(folder.glob("state-*.pt"))[:-KEEP]:
        old.unlink(missing_ok=True)
    return path


def _read(path: Path) -> dict[str, Any] | None:
    """A state, or None for a file that is not one (cut short, damaged, foreign). Never runs code of the file."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:80]
        say(f"{path}: not readable ({reason}); trying the one before")
        return None
    return state if isinstance(state, dict) and {"iteration", "recipe_hash", "net"} <= state.keys() else None


def newest(folder: Path, recipe_hash: str) -> dict[str, Any] | None:
    """The valid state with the most iterations, or None. Errors: UserError when it is of another recipe."""
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)
    for path in sorted(folder.glob("state-*.pt"), reverse=True):
        state = _read(path)
        if state is None:
            continue
        if state["recipe_hash"] != recipe_hash:
            raise UserError(
                f"{path}: belongs to another recipe than the one asked for; move {folder} away to start anew"
            )
        return state
    return None


def clear(folder: Path) -> None:
    """Drop the states of a finished training (its weights stay)."""
    for path in folder.glob("state-*.pt"):
        path.unlink(missing_ok=True)


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold a run's folder, or leave at once. The kernel releases it when its holder dies.

    Errors: UserError naming the owner's pid and host.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise UserError(
                f"{folder}: is being trained by {file.read().strip() or 'another process'}; wait for it"
            ) from None
        file.truncate(0)
        file.write(f"pid {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
