"""Work in loader workers: items in order, and an unreadable file told as one line instead of a worker's traceback."""

import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from reproduce.errors import UserError

K = TypeVar("K")


class Failure(str):
    """The message of a UserError in a worker, on its way to the main process."""


class Items(Dataset[Any], Generic[K]):
    """`make(key)` for each of the keys; a UserError becomes a Failure, for `told` or `unfailed` to raise."""

    def __init__(self, make: Callable[[K], Any], keys: Sequence[K]) -> None:
        self.make, self.keys = make, keys

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.make(self.keys[index])
        except UserError as error:
            return Failure(error)


def loader(items: Items[K], workers: int, pin: bool = False) -> DataLoader[Any]:
    """The items in their order, made by `workers` processes (0: in this one).

    A generator of its own keeps the loader off the global random stream. `pin`: in memory that a GPU can copy from
    while it computes.
    """
    return DataLoader(
        items,
        batch_size=None,
        num_workers=min(workers, len(items)),
        pin_memory=pin,
        generator=torch.Generator(),
        worker_init_fn=_begin_worker,
    )


def _begin_worker(number: int) -> None:
    """A worker ends when the main process does; the handlers that it inherits are for the main process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def unfailed(item: Any) -> Any:
    """The item itself. Raises UserError where it is a Failure."""
    if isinstance(item, Failure):
        raise UserError(str(item))
    return item


def told(items: Iterable[Any]) -> Iterator[Any]:
    """The items, a Failure among them raised."""
    return map(unfailed, items)
