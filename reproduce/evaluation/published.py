"""Published weights under the paper's protocols: its tables at full length, without a day of training.

They were trained elsewhere and by other recipes (configs/published.yaml): columns of their own, never shown as ours.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial
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
    changed,
    conditions,
    count_on,
    keep,
    load_net,
    measured,
    open_data,
    protocol_of,
    suffix,
    to_device,
)
from reproduce.evaluation.responses import standard_deviations, write_responses
from reproduce.evaluation.sources import Source, files_in, source_of, sources
from reproduce.models import pretrained
from reproduce.models.pretrained import weights_sha256
from reproduce.utils.errors import UserError
from reproduce.utils.files import expanded, read_json

ONLINE = "torchvision"


def chosen(names: Sequence[str]) -> list[Source]:
    """The published nets of these names, or of these runs.

    Errors: UserError for a name that is neither, and where nobody has published a net of these runs.
    """
    if unknown := set(names) - set(sources()) - set(runs()):
        raise UserError(f"published: {min(unknown)} is neither a run nor one of {', '.join(sources())}")
    by_run = [source for source in sources().values() if source.run in names and source.builder is None]
    found = [source for source in sources().values() if source.name in names or source in by_run]
    if not found:
        given = ", ".join(names) or "nothing"
        raise UserError(f"published: {given} given; name nets of configs/published.yaml, or runs that they are of")
    return found


def located(wanted: Sequence[Source], where: str) -> dict[str, Path]:
    """Name -> file, in the folder `where`, or downloaded by torchvision into its cache (`torchvision`)."""
    if where != ONLINE:
        return files_in(expanded(where), wanted)
    foreign = [source.name for source in wanted if source.publisher != ONLINE]
    if foreign:
        raise UserError(f"{', '.join(foreign)}: not torchvision's; give WEIGHTS=FOLDER that holds {wanted[0].file}")
    return {source.name: _download(source) for source in wanted}


def _download(source: Source) -> Path:
    """torchvision's file in its cache. Errors: UserError when it cannot be downloaded, or is another file."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / source.file
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(f"https://{source.home}/{source.file}", str(path), source.sha256)
    except (URLError, OSError, RuntimeError) as error:
        raise UserError(
            f"{source.file}: cannot be downloaded ({error}); put it into a folder and give WEIGHTS=FOLDER"
        ) from None
    if source_of(path) != source:
        raise UserError(f"{path}: not the file that {source.home} published (another SHA-256); remove it")
    return path


def load(source: Source, run: Run, path: Path) -> nn.Module:
    """Our net, or one that torchvision builds, with the weights of a file, strictly."""
    if source.builder is None:
        return load_net(run, path)[0]
    net: nn.Module = torchvision.models.get_model(source.builder, weights=None, num_classes=run.config.model.classes)
    pretrained.load_state(net, "ours", pretrained.read_tensors(path), path)
    return net


def evaluate_published(
    wanted: Sequence[Source], where: str, profile: str, overrides: Sequence[str], protocol: str, fabric: Fabric
) -> Iterator[dict[str, Any]]:
    """One result a net, kept in results/published/<data source>/<name>/; what is measured there already is kept.

    All files are found before any is tested. Errors: UserError for weights that are not there or do not fit, and for
    torchvision's own nets under a protocol that needs ours.
    """
    paths = located(wanted, where)
    there = [source for source in wanted if source.name in paths]
    if protocol == "multi-scale" and (foreign := [source.builder for source in there if source.builder]):
        raise UserError(f"{foreign[0]}: the fully convolutional form is made from our nets; Table 4 has no such row")
    for source in there:
        if taken := [word for word in overrides if word.partition("=")[0] in source.settings]:
            raise UserError(f"{taken[0]}: {source.name} has its own value of it (configs/published.yaml); leave it out")
    opened: dict[str, Data] = {}  # the images, by how they are normalised
    for source in there:
        run = source.resolved(profile, overrides)
        key = run.config.data.model_dump_json()
        if key not in opened:
            opened[key] = open_data(run)
        folder = RESULTS / "published" / kind_of_images(source, run) / source.name
        yield _measured(source, paths[source.name], run, opened[key], protocol, fabric, folder)


def kind_of_images(source: Source, run: Run) -> str:
    """official, folder or synthetic, with a hash where the command line changed more: no part replaces a whole."""
    own, given = (
        one.config.data.model_dump(mode="json", exclude={"source", "root", "shards"})
        for one in (source.resolved(run.base_profile), run)
    )
    return run.config.data.source + suffix({key: value for key, value in given.items() if value != own.get(key)})


def _measured(
    source: Source, path: Path, run: Run, data: Data, protocol: str, fabric: Fabric, folder: Path
) -> dict[str, Any]:
    """The errors of one published net; of CIFAR-10 on the training images too, and the layer responses (Fig. 7).

    Errors: UserError where the same was measured on other images: no result takes the place of another's.
    """
    net = load(source, run, path)
    digest = weights_sha256(net.state_dict())
    deviations = changed(run, partial(conditions, name=protocol))
    before = read_json(folder / f"eval-{protocol}{suffix(deviations)}.json")
    small = run.config.data.in_memory
    responses = folder / f"responses{suffix(deviations)}.csv"
    if before and is_whole(before, small) and before["weights_sha256"] == digest:
        if before["data"]["fingerprint"] == data.fingerprint and (responses.is_file() or not small):
            return before
        if before["data"]["fingerprint"] != data.fingerprint and run.config.data.source != "synthetic":
            raise UserError(f"{folder}: measured on other images already; move it away to measure on these")
    net = as_tested(run, to_device(net, fabric.device), fabric.device, data)
    facts = {"name", "run", "publisher", "home", "licence", "recipe", "file", "claimed", "claim"}
    result: dict[str, Any] = source.model_dump(include=facts) | {"weights_sha256": digest}
    result |= measured([net], run, protocol, data, fabric)
    if small:
        result["train_error"] = count_on([net], data, protocol_of(run.config, protocol), fabric, "train").error
        if fabric.is_global_zero:
            write_responses(responses, standard_deviations(net, data.test_batches(fabric.device)))
    if fabric.is_global_zero:
        keep(folder, result)
    return result


def is_whole(found: dict[str, Any], small: bool) -> bool:
    """Whether a stored result has what the report needs of it, each of its kind; else it is measured again."""
    numbers = ["n", "top1_error", "claimed", "train_error" if small else "top5_error"]
    data = found.get("data")
    right = [isinstance(found.get(key), int | float) and math.isfinite(found[key]) for key in numbers]
    right += [isinstance(found.get(key), str) for key in ("name", "claim", "protocol", "weights_sha256")]
    return all(right) and isinstance(data, dict) and {"description", "fingerprint", "official", "source"} <= data.keys()
