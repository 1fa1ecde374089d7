"""The typed form of a configuration: each key with its type, range, default and meaning. Reasons stand in configs/.

A net is known by `model.name`, a data set by `data.name`, what is learned by `task`; each name has a class of its own.
"""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Problems = Iterator[str]  # each as `key: reason`
Precision = Literal["fp32", "tf32", "bf16"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Pixels = Annotated[int, Field(ge=32, le=4096)]  # side of an image of ImageNet
Scale = Annotated[float, Field(gt=0, le=1000)]
NOT_STRICT = Field(strict=False)  # a tuple may come as YAML's list; its elements stay strict


class Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    def problems(self) -> Problems:
        """What is wrong between the keys of this part."""
        yield from ()


class ResNet(Part):
    """A plain net or its residual twin: they differ in `shortcut` alone."""

    depth: Annotated[int, Field(ge=1, le=10_000, description="weighted layers")]
    shortcut: Annotated[Literal["none", "A", "B", "C"], Field(description="none: plain net; A, B, C: Sec. 3.3")]
    block: Annotated[Literal["auto", "basic", "bottleneck"], Field(description="Fig. 5; auto: as in the paper")] = (
        "auto"
    )
    zero_padding: Annotated[Literal["end", "both"], Field(description="where option A appends zero channels")] = "end"
    subsample: Annotated[Literal["stride", "average"], Field(description="how option A halves a map")] = "stride"
    stride: Annotated[Literal["first-1x1", "3x3"], Field(description="where a bottleneck halves the map")] = "first-1x1"
    bn_group: Annotated[
        Literal["device"] | Positive, Field(description="images normalised together; device: all that it holds")
    ] = "device"
    bn_momentum: Annotated[float, Field(gt=0, le=1, description="weight of the newest in BN's averages")] = 0.1
    bn_epsilon: Annotated[float, Field(gt=0, le=1, description="added to BN's variance")] = 1e-5
    init: Annotated[Literal["fan_in", "fan_out"], Field(description="He initialisation by")] = "fan_in"


class CifarResNet(ResNet):
    """Sec. 4.2: 3x3 first, maps of {32, 16, 8} with {16, 32, 64} filters, 6n + 2 layers."""

    name: Literal["cifar-resnet"]
    classes: Annotated[int, Field(ge=2, le=100_000, description="outputs of fc")] = 10


class ImageNetResNet(ResNet):
    """Table 1: 7x7 and max pooling first, four stages from 64 filters on."""

    name: Literal["imagenet-resnet"]
    classes: Annotated[int, Field(ge=2, le=100_000, description="outputs of fc")] = 1000


class FasterRcnn(ResNet):
    """Appendix A: a residual net whose conv5_x is for each region, or VGG-16, a plain net; BN is constant."""

    name: Literal["faster-rcnn"]
    backbone: Annotated[Literal["resnet", "vgg-16"], Field(description="layers of the classification net")] = "resnet"
    classes: Annotated[int, Field(ge=1, le=100_000, description="kinds of objects")] = 20
    anchor_scales: Annotated[
        tuple[Scale, ...], Field(strict=False, min_length=1, description="sides of anchors in units of 16 pixels")
    ] = (8, 16, 32)
    anchor_ratios: Annotated[
        tuple[Scale, ...], Field(strict=False, min_length=1, description="heights of anchors by their widths")
    ] = (0.5, 1, 2)
    rpn_channels: Annotated[int, Field(ge=1, le=8192, description="filters of the RPN's 3x3 layer")] = 512
    roi_size: Annotated[int | None, Field(ge=1, le=64, description="side of a pooled region; null: 14, VGG 7")] = None
    context: Annotated[bool, Field(description="Appendix B: the whole image beside each region")] = False
    frozen: Annotated[int, Field(ge=0, le=5, description="conv1 to this stage keep their weights")] = 2
    fc_units: Annotated[int, Field(ge=1, le=65_536, description="vgg-16: outputs of fc6 and fc7")] = 4096
    dropout: Annotated[float, Field(ge=0, lt=1, description="vgg-16: after fc6 and fc7")] = 0.5

    def problems(self) -> Problems:
        if self.backbone == "vgg-16" and (self.depth, self.shortcut) != (16, "none"):
            yield "model.depth: model.backbone=vgg-16 needs model.depth=16 and model.shortcut=none"
        if self.bn_group != "device":
            yield "model.bn_group: BN is constant in model.name=faster-rcnn, and has no groups"


class Images(Part):
    """What all data sets have."""

    paper_size: ClassVar[int]  # side in pixels of the images for which the paper counts multiply-adds
    in_memory: ClassVar[bool]  # all images at once; else they are decoded as they are needed
    downloads: ClassVar[bool]  # the official source is fetched where it is missing
    top5: ClassVar[bool]  # top-5 errors are reported, too
    protocols: ClassVar[tuple[str, ...]]  # by which its nets can be tested

    source: Annotated[Literal["official", "folder", "synthetic"], Field(description="which images")] = "official"
    root: Annotated[str, Field(description="folder of the images; recorded, not hashed")]
    normalize: Annotated[
        Literal["per-pixel-mean", "channels"], Field(description="the mean image is subtracted, or mean and std")
    ] = "per-pixel-mean"
    mean: Annotated[tuple[Fraction, Fraction, Fraction] | None, NOT_STRICT] = None
    std: Annotated[tuple[Fraction, Fraction, Fraction] | None, NOT_STRICT] = None
    scale: Annotated[float, Field(ge=1e-6, le=1e6, description="divisor after the mean subtraction")] = 1.0
    validation: Annotated[int, Field(ge=0, le=1_000_000, description="images held out of the training set")] = 0
    subset: Annotated[int, Field(ge=0, le=1_000_000, description="first k images per class; 0: all")] = 0

    @property
    def size(self) -> int:
        """Side in pixels of a training image, and of a test view."""
        raise NotImplementedError

    @property
    def tested_side(self) -> int:
        """Shorter side in pixels of the images that test views are taken from."""
        return self.size

    def problems(self) -> Problems:
        for key in ("mean", "std"):
            if (getattr(self, key) is None) == (self.normalize == "channels"):
                yield f"data.{key}: goes with data.normalize=channels and with nothing else: three numbers in [0, 1]"
        if self.std and 0 in self.std:
            yield "data.std: a standard deviation of 0 divides by zero"


class Cifar10Data(Images):
    paper_size, in_memory, downloads, top5 = 32, True, True, False
    protocols = ("single",)

    name: Literal["cifar10"]
    side: Annotated[Literal[8, 16] | None, Field(description="images shrunk to this side; null: 32, as they are")] = (
        None
    )

    @property
    def size(self) -> int:
        return self.side or 32


class ImageNetData(Images):
    paper_size, in_memory, downloads, top5 = 224, False, False, True
    protocols = ("single", "10-crop", "multi-scale")

    name: Literal["imagenet"]
    shorter_side: Annotated[
        tuple[Pixels, Pixels], Field(strict=False, description="scale augmentation: sampled from this interval")
    ] = (256, 480)
    crop: Annotated[Pixels, Field(description="side of the training and test crops")] = 224
    colour_noise: Annotated[float, Field(ge=0, le=10, description="standard deviation of the PCA noise of [21]")] = 0.1
    test_side: Annotated[Pixels, Field(description="shorter side of the images that crops are tested on")] = 256
    predecoded: Annotated[Pixels | None, Field(description="shorter side of the shards to train from")] = None
    shards: Annotated[str | None, Field(description="where they lie; recorded, not hashed")] = None

    @property
    def size(self) -> int:
        return self.crop

    @property
    def tested_side(self) -> int:
        return self.test_side

    def problems(self) -> Problems:
        yield from super().problems()
        low, high = self.shorter_side
        if not self.crop <= low <= high:
            yield f"data.shorter_side: {[low, high]} is no interval of sides from data.crop ({self.crop}) on"
        if self.test_side < self.crop:
            yield f"data.test_side: {self.test_side} is smaller than data.crop ({self.crop})"


class Train(Part):
    iterations: Annotated[int, Field(ge=1, le=10**9, description="updates of the weights")]
    batch_size: Annotated[int, Field(ge=1, le=10**6, description="images of an update, over all devices")]
    lr: Annotated[float, Field(ge=0, le=1e3, description="learning rate at the start")] = 0.1
    lr_policy: Annotated[Literal["steps", "plateau"], Field(description="when it is divided by 10")] = "steps"
    milestones: Annotated[tuple[Positive, ...], Field(strict=False, description="steps: at these iterations")]
    plateau_watch: Annotated[Literal["train", "validation"] | None, Field(description="plateau: of which error")] = None
    plateau_patience: Annotated[
        int | None, Field(ge=1, le=10**6, description="plateau: points of the curve without a gain")
    ] = None
    plateau_gain: Annotated[float | None, Field(ge=0, le=100, description="plateau: of as many points of error")] = None
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.9
    nesterov: bool = False
    weight_decay: Annotated[float, Field(ge=0, le=1e3)] = 0.0001
    weight_decay_on: Annotated[Literal["all", "weights"], Field(description="weights: neither BN nor biases")] = "all"
    warmup_lr: Annotated[float, Field(ge=0, le=1e3, description="learning rate of the warm-up; 0: none")] = 0.0
    warmup_error: Annotated[float, Field(ge=0, le=100, description="training error (%) that ends it")] = 80.0
    warmup_window: Annotated[int, Field(ge=1, le=10**9, description="iterations over which it is measured")] = 100
    test_every: Annotated[int, Field(ge=1, le=10**9, description="iterations between points of the curves")]
    precision: Annotated[Precision, Field(description="of the training; bf16: autocast")] = "fp32"
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    compile: Annotated[bool, Field(description="torch.compile; recorded, not hashed")] = False
    channels_last: Annotated[bool, Field(description="memory layout; recorded, not hashed")] = True

    def problems(self) -> Problems:
        if list(self.milestones) != sorted(set(self.milestones)):
            yield f"train.milestones: {list(self.milestones)} are not increasing iterations"
        if self.nesterov and self.momentum == 0:
            yield "train.nesterov: needs train.momentum above 0"
        for key in ("plateau_watch", "plateau_patience", "plateau_gain"):
            if self.lr_policy == "plateau" and getattr(self, key) is None:
                yield f"train.{key}: is needed for train.lr_policy=plateau"


class Eval(Part):
    """How a net is tested: recorded with each test, but no part of what its training is."""

    bn_statistics: Annotated[
        Literal["moving", "recomputed"], Field(description="moving averages, or recomputed over training images")
    ] = "moving"
    precision: Annotated[Precision, Field(description="of test images, whatever the training computes in")] = "fp32"
    test_sides: Annotated[
        tuple[Pixels, ...] | None, Field(strict=False, description="shorter sides of multi-scale testing")
    ] = None

    def problems(self) -> Problems:
        sides = list(self.test_sides) if self.test_sides is not None else [0]
        if not sides or sides != sorted(set(sides)):
            yield f"eval.test_sides: {sides} are not increasing shorter sides"


class Execution(Part):
    """How a training is carried out: recorded with a result, but no part of its identity."""

    devices: Annotated[int, Field(ge=0, le=1024, description="per node; 0: all visible GPUs")] = 1
    nodes: Annotated[int, Field(ge=1, le=10_000)] = 1
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    jobs: Annotated[int, Field(ge=1, le=1024, description="runs at the same time")] = 1
    mps: Annotated[bool, Field(description="runs share a GPU by NVIDIA's Multi-Process Service")] = False
    threads: Annotated[int, Field(ge=0, le=4096, description="CPU threads per process; 0: its share of the cores")] = 0
    workers: Annotated[int, Field(ge=-1, le=1024, description="processes that decode images; -1: the cores left")] = 0
    steps_per_batch: Annotated[
        int, Field(ge=0, le=1000, description="iterations per Lightning batch; 0: as the device")
    ] = 0
    micro_batch: Annotated[
        int, Field(ge=0, le=10**6, description="images that a process computes at a time, gradients added up; 0: all")
    ] = 0
    cuda_graph: Annotated[bool, Field(description="the step is captured as a CUDA graph")] = False
    cudnn_benchmark: Annotated[bool, Field(description="cuDNN times its algorithms first")] = False
    activation_checkpointing: Annotated[
        bool, Field(description="blocks compute again in the backward pass, for memory")
    ] = False
    checkpoint_seconds: Annotated[float, Field(ge=0, le=86_400, description="between two saved states")] = 30.0
    wandb: Literal["disabled", "offline", "online"] = "disabled"


class Config(Part):
    """One training, resolved: the recipe, what its run and profile change, and the command line's overrides."""

    task: Annotated[Literal["classification"], Field(description="what is learned and tested")] = "classification"
    model: Annotated[CifarResNet | ImageNetResNet | FasterRcnn, Field(discriminator="name")]
    data: Annotated[Cifar10Data | ImageNetData, Field(discriminator="name")]
    train: Train
    eval: Eval = Eval()
    execution: Execution = Execution()

    @model_validator(mode="after")
    def _fits_together(self) -> "Config":
        for problem in self.problems():
            raise ValueError(problem)
        return self

    def replaced(self, values: dict[str, Any]) -> "Config":
        """The same with other values, {"model.depth": 8}, which are not checked."""
        changed = self
        for key, value in values.items():
            part, _, name = key.partition(".")
            changed = changed.model_copy(update={part: getattr(changed, part).model_copy(update={name: value})})
        return changed

    def problems(self) -> Problems:
        for part in (self.model, self.data, self.train, self.eval):
            yield from part.problems()
        yield from self._division_problems()
        if self.model.name == "faster-rcnn" and self.task == "classification":
            yield "model.name: faster-rcnn detects objects and does not go with task=classification"
        t, e = self.train, self.execution
        if (self.eval.test_sides is None) != self.data.in_memory:
            yield "eval.test_sides: goes with data.name=imagenet, which is tested at several scales, and only with it"
        if t.lr_policy == "plateau" and t.plateau_watch == "validation" and not self.data.validation:
            yield "data.validation: train.plateau_watch=validation needs images held out, e.g. 50000"
        if e.activation_checkpointing and t.compile:
            yield "execution.activation_checkpointing: does not go with train.compile=true"
        if e.micro_batch and t.compile:
            yield "execution.micro_batch: does not go with train.compile=true"

    def _division_problems(self) -> Problems:
        """A batch is divided between processes, their shares into micro-batches, and these into BN groups."""
        e, batch, group = self.execution, self.train.batch_size, self.model.bn_group
        processes = max(e.devices, 1) * e.nodes
        share = batch // processes
        ways = "change execution.devices, execution.micro_batch or train.batch_size (the last is another recipe)"
        if batch % processes:
            yield f"train.batch_size: {batch} is not divisible by {processes} (execution.devices, nodes); {ways}"
        elif e.micro_batch and share % e.micro_batch:
            yield f"execution.micro_batch: {share} images per device are no multiple of {e.micro_batch}; {ways}"
        elif group != "device" and (together := e.micro_batch or share) % group:
            holder = "micro-batch" if e.micro_batch else "device"
            yield f"model.bn_group: {together} images per {holder} are no multiple of the group of {group}"


def flatten(tree: dict[str, Any]) -> dict[str, Any]:
    """{"task": "x", "model": {"depth": 20}} -> {"task": "x", "model.depth": 20}."""
    flat: dict[str, Any] = {}
    for part, values in tree.items():
        flat |= (
            {f"{part}.{key}": value for key, value in values.items()} if isinstance(values, dict) else {part: values}
        )
    return flat
