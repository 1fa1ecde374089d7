"""The loader's benchmark on a handful of images: what it compares, what it prints. Nothing is timed seriously."""

import io
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks import data
from benchmarks.data import CUT, RESIZED, SENT, from_shards, in_turns, loader_only, opened, reference_batch
from reproduce.data.synthetic.imagenet import encode
from reproduce.utils.errors import UserError
from tests.helpers.images import smooth


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tar of five images; two per turn, three turns."""
    monkeypatch.setattr(data, "BATCH", 2)
    monkeypatch.setattr(data, "ROUNDS", 3)
    path = tmp_path / "images.tar"
    with tarfile.open(path, "w") as tar:
        for number in range(5):
            content = encode(smooth(260 + number, 300))
            member = tarfile.TarInfo(f"sample/n0000000{number}_x.JPEG")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_both_make_batches_of_the_same_images(images: Path) -> None:
    with opened(images) as data:
        assert data.n_train == 5
        ours, theirs = data.train_batch(1), reference_batch(data, 1)
        assert ours[0].shape == theirs[0].shape == (2, 3, 224, 224)
        assert ours[0].dtype == theirs[0].dtype == torch.float32
        assert torch.equal(ours[1], theirs[1])
        index = data._order.indices(torch.tensor([1]), torch.arange(2))[0].tolist()
        sizes = [Image.open(data.files["train"].path(i)).size for i in index]
        assert len(set(sizes)) == 2
        assert (data.shorter_side, data.crop, data.colour_noise) == ((256, 480), 224, 0.1)  # the paper's view
        with from_shards(data) as stored:
            assert not stored[RESIZED].cut
            assert stored[RESIZED].batch_size == 8 * data.batch_size
            share, pixels = stored[RESIZED].share(0, 1)(0)[0], data.share(0, 1)(0)[0]
            assert torch.equal(share[:2], pixels)  # small images: the very same
            seconds = in_turns(data, stored)
            assert {name: len(times) for name, times in seconds.items()} == dict.fromkeys(seconds, 2)
            assert loader_only(data, 1) > 0
            assert loader_only(stored[CUT], 1) > 0
    assert list(seconds) == ["reference", "ours", SENT, RESIZED, CUT]


def test_what_holds_no_images_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.tar").write_text("no tar")
    for path, said in ((tmp_path / "text.tar", "neither a folder nor a readable tar"), (tmp_path, "no images there")):
        with pytest.raises(UserError, match=said) as caught, opened(path):
            pass
        assert str(path) in str(caught.value)
