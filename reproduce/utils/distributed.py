"""Which of several processes this is."""

import os
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.distributed as dist

from reproduce.utils.errors import UserError


def is_first_process() -> bool:
    """Whether this is the only process or the first of several, under Lightning's launcher, torchrun or SLURM."""
    if "RANK" in os.environ:  # torchrun
        return os.environ["RANK"] == "0"
    local, node = os.environ.get("LOCAL_RANK", "0"), os.environ.get("NODE_RANK", "0")
    return local == node == "0" and os.environ.get("SLURM_PROCID", "0") == "0"


T = TypeVar("T")


def of_first_process(make: Callable[[], T], device: torch.device) -> T:
    """What `make` returns on process 0, on all; a UserError of it is raised on all, so that none waits for ever."""
    if not (dist.is_available() and dist.is_initialized()):
        return make()
    found: list[T | str | None] = [None, None]  # result, error
    if dist.get_rank() == 0:
        try:
            found[0] = make()
        except UserError as error:
            found[1] = str(error)
    dist.broadcast_object_list(found, src=0, device=device)
    if isinstance(found[1], str):
        raise UserError(found[1])
    return found[0]  # type: ignore[return-value]
