"""The real recipe, shrunk until a training takes a second."""

# The real recipe on synthetic images, shrunk: a ResNet-8 (n = 1) for 12 updates of 8 images, tested at 5, 10 and 12.
TINY = (
    "model.depth=8",
    "data.subset=3",
    "train.iterations=12",
    "train.batch_size=8",
    "train.milestones=[6,9]",
    "train.test_every=5",
    "train.warmup_window=2",
    "train.precision=fp32",
    "execution.threads=1",
    "execution.checkpoint_seconds=0",
)
