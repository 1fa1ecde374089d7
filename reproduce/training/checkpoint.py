"""State of a training on disk: written whole or not at all; the newest one whose sum is right is used."""

import hashlib
import io
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from reproduce.utils.console import log
from reproduce.utils.errors import UserError
from reproduce.utils.files import write_bytes

KEEP = 2  # the newest, and one to fall back on
# A file is `sha256 <hex digits>`, a line feed and the payload of torch.save: torch.load does not verify the checksums
# of its zip files, so a flipped bit would become a weight.
MARK, DIGITS = b"sha256 ", 64
KEYS = {"recipe_hash", "resumed", "began", "spent", "commit", "net", "optimizer"}
KEYS |= {"iteration", "warmup_over", "rows", "window", "warmup"}


def _path(folder: Path, iteration: int) -> Path:
    return folder / f"state-{iteration:08d}.pt"


def save(folder: Path, state: dict[str, Any]) -> Path:
    """Write a state and drop all but the newest KEEP. Errors: OSError (a full disk leaves the previous states)."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    path = _path(folder, state["iteration"])
    write_bytes(path, MARK + hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
    for old in sorted(folder.glob("state-*.pt"))[:-KEEP]:
        old.unlink(missing_ok=True)
    return path


def load(path: Path) -> dict[str, Any]:
    """The state in a file. Never runs code of the file. Errors: ValueError saying in one line why it is none."""
    try:
        content = _checked(path.read_bytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles that it then refuses
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise ValueError(next(iter(str(error).splitlines()), type(error).__name__)[:80]) from None
    if not isinstance(state, dict) or not state.keys() >= KEYS or not isinstance(state["net"], dict):
        raise ValueError("not a state of this version")
    return state


def _checked(content: bytes) -> bytes:
    head = len(MARK) + DIGITS + 1
    if not content.startswith(MARK) or len(content) < head:
        raise ValueError("not a state, or cut short")
    if hashlib.sha256(content[head:]).hexdigest().encode() != content[len(MARK) : head - 1]:
        raise ValueError("damaged: its SHA-256 is another")
    return content[head:]


def _misfit(state: Mapping[str, Any], shapes: Mapping[str, Any]) -> str | None:
    """What of a state does not fit a net of these parameters and buffers."""
    for name in sorted(shapes.keys() ^ state["net"].keys()):
        return f"{name} is {'missing' if name in shapes else 'not of this net'}"
    wrong = (name for name, shape in shapes.items() if getattr(state["net"][name], "shape", None) != shape)
    return next((f"{name} has another shape" for name in wrong), None)


def newest(folder: Path, recipe_hash: str, shapes: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """The valid state with the most iterations, or None. Errors: UserError when it is of another recipe.

    `shapes`: of the net's state_dict; a state of another net is not valid. What is passed over is said.
    """
    for path in sorted(folder.glob("state-*.pt"), reverse=True):
        try:
            state = load(path)
            if shapes is not None and (reason := _misfit(state, shapes)):
                raise ValueError(reason)
        except ValueError as error:
            log(f"{path}: not readable ({error}); trying the one before")
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
