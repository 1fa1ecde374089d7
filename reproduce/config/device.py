"""Which kind of device a configuration computes on."""

import torch

from reproduce.config.schema import Config
from reproduce.utils.environment import cores
from reproduce.utils.errors import UserError


def on_gpu(config: Config) -> bool:
    wanted = config.execution.accelerator
    if wanted == "gpu" and not torch.cuda.is_available():
        raise UserError("execution.accelerator: gpu: no CUDA device is visible here; `make doctor` says more")
    return wanted != "cpu" and torch.cuda.is_available()


def device_of(config: Config) -> torch.device:
    """The kind of device that this configuration computes on."""
    return torch.device("cuda" if on_gpu(config) else "cpu")


def set_threads(config: Config) -> None:
    """CPU threads of this process: the cores are divided between the processes of one machine."""
    torch.set_num_threads(config.execution.threads or max(1, cores() // config.execution.devices))
