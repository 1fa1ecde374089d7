"""Several processes that fetch the same archive at once: each ends well, and one whole file is there."""

import functools
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from torchvision.datasets import CIFAR10

from reproduce.data.cifar10.download import download_official
from tests.helpers.figures import Figure
from tests.reliability.trainings import SERVER

pytestmark = pytest.mark.reliability
CONTENT = bytes(range(256)) * 4096  # 1 MB


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """The archive on a server of this machine."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / CIFAR10.filename).write_bytes(CONTENT)
    handler = functools.partial(Quiet, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/{CIFAR10.filename}"
        server.shutdown()


def fetch(root: Path, url: str) -> None:
    CIFAR10.url, CIFAR10.tgz_md5 = url, hashlib.md5(CONTENT).hexdigest()
    download_official(str(root))


@pytest.mark.parametrize("rounds", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_three_downloads_at_once(tmp_path: Path, url: str, figure: Figure, rounds: int) -> None:
    well = 0
    for number in range(rounds):
        root = tmp_path / str(number)
        processes = [SERVER.Process(target=fetch, args=(root, url)) for _ in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
        whole = {path.name: path.read_bytes() for path in root.iterdir()} == {CIFAR10.filename: CONTENT}
        well += whole and [process.exitcode for process in processes] == [0, 0, 0]
    what = f"three processes download one archive at once, {rounds} times"
    figure("T23", what, reached=f"{well}/{rounds} well", demanded="all")
    assert well == rounds
