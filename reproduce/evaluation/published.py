"""Published weights under the paper's protocols: its tables at full length, without a day of training.

They were trained elsewhere and by other recipes (configs/published.yaml): columns of their own, never shown as ours.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
import torchvision
from lightning.fabric import Fabric
from torch import nn

from reproduce.config.load import runs
from reproduce.config.run import RESULTS, Run
from reproduce.data.build import Data
from reproduce.evaluation.classification import (
    as_tested,
    count_on,
    keep,
    load_net,
    measured,
    open_data,
    protocol_of,
    to_device,
)
from reproduce.evaluation.responses import standard_deviations, write_responses
from reproduce.evaluation.sources import Source, files_in, sources
from reproduce.models import pretrained
from reproduce.models.pretrained import weights_sha256
from reproduce.utils.errors import UserError
from reproduce.utils.files import read_json

ONLINE = "torchvision"


def chosen(names: Sequence[str]) -> list[Source]:
    """The published nets of these names, or of these runs.

    Errors: UserError for a name that is neither, and where nobody has published a net of these runs.
    """
    if unknown := set(names) - set(sources()) - set(runs()):
        raise UserError(f"published: {min(unknown)} is neither a run nor one of {', '.join(sources())}")
    found = [source for source in sources().values() if source.name in names or source.run in names]
    if not found:
        given = ", ".join(names) or "nothing"
        raise UserError(f"published: {given} given; name nets of configs/published.yaml, or runs that they are of")
    return found


def located(wanted: Sequence[Source], where: str) -> dict[str, Path]:
    """Name -> file, in the folder `where`, or downloaded by torchvision into its cache (`torchvision`)."""
    if where != ONLINE:
        return files_in(Path(where).expanduser(), wanted)
    foreign = [source.name for source in wanted if source.publisher != ONLINE]
    if foreign:
        raise UserError(f"{', '.join(foreign)}: not torchvision's; give WEIGHTS=FOLDER that holds {wanted[0].file}")
    return {source.name: _download(source) for source in wanted}


def _download(source: Source) -> Path:
    """torchvision's file in its cache. Errors: UserError when it cannot be downloaded."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / source.file
    try:
        torch.hub.load_state_dict_from_url(f"https://{source.home}/{source.file}", check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise UserError(
            f"{source.file}: cannot be downloaded ({error}); put it into a folder and give WEIGHTS=FOLDER"
        ) from None
    return path


def load(source: Source, run: Run, path: Path) -> nn.Module:
    """Our net, or one that torchvision builds, with the weights of a file, strictly."""
    if source.builder is None:
        return load_net(run, path)[0]
    net: nn.Module = torchvision.models.get_model(source.builder, weights=None, num_classes=run.config.model.classes)
    pretrained.load_state(net, "ours", pretrained.read_tensors(path), path)
    return net


def evaluate_published(
    wanted: Sequence[Source], where: str, profile: str, overrides: Sequence[str], name: str, fabric: Fabric
) -> Iterator[dict[str, Any]]:
    """One result a net, kept in results/published/<data source>/<name>/; what is measured there already is kept.

    All files are found before any is tested. Errors: UserError for weights that are not there or do not fit, and for
    torchvision's own nets under a protocol that needs ours.
    """
    paths = located(wanted, where)
    there = [source for source in wanted if source.name in paths]
    if name == "multi-scale" and (foreign := [source.builder for source in there if source.builder]):
        raise UserError(f"{foreign[0]}: the fully convolutional form is made from our nets; Table 4 has no such row")
    opened: dict[str, Data] = {}  # the images, by how they are normalised
    for source in there:
        run = source.resolved(profile, overrides)
        key = run.config.data.model_dump_json()
        data = opened[key] = opened.get(key) or open_data(run)
        yield _measured(source, paths[source.name], run, data, name, fabric)


def _measured(source: Source, path: Path, run: Run, data: Data, name: str, fabric: Fabric) -> dict[str, Any]:
    """The errors of one published net; of CIFAR-10 on the training images too, and the layer responses (Fig. 7)."""
    folder = RESULTS / "published" / run.config.data.source / source.name
    net = load(source, run, path)
    digest = weights_sha256(net.state_dict())
    before = read_json(folder / f"eval-{name}.json") or {}
    if before.get("weights_sha256") == digest and before.get("data", {}).get("fingerprint") == data.fingerprint:
        return before
    net = as_tested(run, to_device(net, fabric.device), fabric.device, data)
    result: dict[str, Any] = {
        "name": source.name,
        "run": source.run,
        "publisher": source.publisher,
        "home": source.home,
    }
    result |= {"recipe": source.recipe, "weights": f"{source.publisher}: {source.file}", "weights_sha256": digest}
    result |= {"claimed": source.claimed, "claim": source.claim} | measured([net], run, name, data, fabric)
    if run.config.data.in_memory:
        result["train_error"] = count_on([net], data, protocol_of(run.config, name), fabric, "train").error
        if fabric.is_global_zero:
            write_responses(folder / "responses.csv", standard_deviations(net, data.test_batches(fabric.device)))
    if fabric.is_global_zero:
        keep(folder, result)
    return result
