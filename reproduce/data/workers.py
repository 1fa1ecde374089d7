"""DataLoader workers: items in order; an unreadable file ends in one line, not in a worker's traceback."""

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from reproduce.utils.errors import UserError

K = TypeVar("K")


class Failure(str):
    """The message of a UserError in a worker, on its way to the main process."""


class WorkerDataset(Dataset[Any], Generic[K]):
    """`make(key)` for each of the keys; a UserError becomes a Failure, which `reraise` raises."""

    def __init__(self, make: Callable[[K], Any], keys: Sequence[K]) -> None:
        self.make, self.keys = make, keys

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.make(self.keys[index])
        except UserError as error:
            return Failure(error)


def loader(items: WorkerDataset[K], workers: int, pin: bool = False) -> DataLoader[Any]:
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


class Ahead(IterableDataset[Any]):
    """The items in their order, made by threads of this process while others are used.

    For work that only copies bytes: processes would have to copy them once more, into memory that they share.
    """

    def __init__(self, items: WorkerDataset[Any], threads: int) -> None:
        self.items, self.threads = items, threads

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Any]:
        with ThreadPoolExecutor(self.threads) as pool:
            coming: deque[Future[Any]] = deque()
            for index in range(len(self.items)):
                coming.append(pool.submit(self.items.__getitem__, index))
                if len(coming) > 2 * self.threads:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()


def threaded(items: WorkerDataset[K], threads: int) -> DataLoader[Any]:
    """The items in their order, made by `threads` of this process (0: when they are asked for)."""
    made = Ahead(items, threads) if threads else items
    return DataLoader(made, batch_size=None, generator=torch.Generator())


def _begin_worker(number: int) -> None:
    """A worker ends when the main process does; the handlers that it inherits are for the main process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def reraise(item: Any) -> Any:
    """The item itself. Raises UserError where it is a Failure."""
    if isinstance(item, Failure):
        raise UserError(str(item))
    return item


def reraise_each(items: Iterable[Any]) -> Iterator[Any]:
    """Yield the items; a worker's UserError is raised here."""
    return map(reraise, items)
