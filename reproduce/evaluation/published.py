"""torchvision's published ImageNet weights under the paper's protocols: a table without weeks of GPU time.

They are other nets than the paper's (stride in the 3x3 of the bottlenecks, option B for 18 and 34 layers too), trained
by another recipe (scale and aspect-ratio crops, no colour noise, mean and standard deviation per channel): a column of
their own, never beside the paper's as if they were ours.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
import torchvision
from lightning.fabric import Fabric
from torch import nn

from reproduce.config.load import resolve
from reproduce.config.run import RESULTS, Run
from reproduce.evaluation.classification import as_tested, keep, load_net, measured, open_data, to_device
from reproduce.models import pretrained
from reproduce.models.pretrained import weights_sha256
from reproduce.utils.errors import UserError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RUN = "imagenet-resnet-50"
RECIPE = ("model.stride=3x3", "data.normalize=channels", f"data.mean={list(MEAN)}", f"data.std={list(STD)}")
ONLINE = "torchvision"


@dataclass(frozen=True)
class Weights:
    """One of torchvision's models with its first weights (IMAGENET1K_V1)."""

    model: str  # torchvision's name, e.g. resnet50
    depth: int | None = None  # of our net in which its weights fit; None: torchvision's own net (VGG)

    @property
    def name(self) -> str:
        return f"torchvision-{self.model}-v1"

    @property
    def net(self) -> str:
        """What it is, in the paper's words."""
        if self.depth is None:
            return "VGG-16"
        return f"ResNet-{self.depth}, option B" + (", stride in the 3x3 (v1.5)" if self.depth >= 50 else "")


WEIGHTS = {w.model: w for w in (*(Weights(f"resnet{d}", d) for d in (18, 34, 50, 101, 152)), Weights("vgg16"))}


def config_run(weights: Weights, profile: str, overrides: tuple[str, ...]) -> Run:
    """A run of the right depth under the profile's data, normalised as these weights want it; it is never trained."""
    net = [f"model.depth={weights.depth}", "model.shortcut=B"] if weights.depth else []
    return resolve(RUN, profile, [*overrides, *RECIPE, *net])


def find(weights: Weights, where: str) -> Path:
    """The file of the weights: in the folder `where`, or downloaded by torchvision into its cache (`torchvision`).

    Errors: UserError when it is not there, or cannot be downloaded.
    """
    entry = torchvision.models.get_model_weights(weights.model)["IMAGENET1K_V1"]
    file = str(entry.url).rsplit("/", 1)[-1]
    if where != ONLINE:
        path = Path(where).expanduser() / file
        if not path.is_file():
            raise UserError(f"{path}: no such file; WEIGHTS names the folder that holds {file}, or is `torchvision`")
        return path
    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    try:
        entry.get_state_dict(progress=True, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise UserError(
            f"{file}: cannot be downloaded ({error}); put it into a folder and give WEIGHTS=FOLDER"
        ) from None
    return path


def load(weights: Weights, run: Run, path: Path) -> nn.Module:
    """Our net, or torchvision's VGG-16, with the weights of a file, strictly."""
    if weights.depth is not None:
        return load_net(run, path)[0]
    net: nn.Module = torchvision.models.get_model(weights.model, weights=None, num_classes=run.config.model.classes)
    pretrained.load_state(net, "ours", pretrained.read_tensors(path), path)
    return net


def evaluate_published(
    weights: Weights, where: str, run: Run, profile: str, name: str, fabric: Fabric
) -> dict[str, Any]:
    """The errors of published weights under a protocol, kept in results/<profile>/published/<name>/.

    Errors: UserError for weights that are not there or do not fit, and for VGG-16 under a protocol that needs our nets.
    """
    if weights.depth is None and name == "multi-scale":
        raise UserError("vgg16: the fully convolutional form is made from our nets; Table 4 has no such row anyway")
    path = find(weights, where)
    net = load(weights, run, path)
    digest, data = weights_sha256(net.state_dict()), open_data(run)
    net = as_tested(run, to_device(net, fabric.device), fabric.device, data)
    found = measured([net], run, name, data, fabric)
    told = {
        "weights": f"torchvision {weights.model} IMAGENET1K_V1 ({path.name})",
        "net": weights.net,
        "weights_sha256": digest,
    }
    result = {"name": weights.name} | told | found
    if fabric.is_global_zero:
        keep(RESULTS / profile / "published" / weights.name, result)
    return result
