"""The table of published weights (configs/published.yaml), and the files that they are, known by their SHA-256."""

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from reproduce.config.load import CONFIGS, read, resolve
from reproduce.config.run import Run
from reproduce.utils.console import log
from reproduce.utils.errors import UserError

AGREEMENT = 0.05  # points that rounding and other kernels may put between a claimed and a measured error
SUFFIXES = {".th", ".pt", ".pth", ".bin", ".safetensors", ""}  # of files that hold weights


class Source(BaseModel):
    """One published net: a line of the table with what its publisher says of all of its nets."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    publisher: str
    home: str
    licence: str
    layout: str
    recipe: str
    claim: str  # how the claimed error was chosen
    settings: dict[str, str | tuple[float, float, float]]  # key -> value, beside those of the run
    name: str  # of its folder under results/published/
    run: str
    file: str
    sha256: str  # or its beginning
    claimed: float  # percent
    builder: str | None = None  # torchvision's name of a net that is none of ours

    @property
    def overrides(self) -> list[str]:
        """The settings as key=value."""
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in self.settings.items()}
        return [f"{key}={value}" for key, value in plain.items()]

    def resolved(self, profile: str, overrides: Sequence[str] = ()) -> Run:
        """Its run under a profile's data, with the net and the normalisation that these weights were trained with."""
        return resolve(self.run, profile, [*overrides, *self.overrides])

    def fits(self, run: Run) -> bool:
        """Whether the run's net is of this depth and kind, plain or residual: option A has a plain net's parameters."""
        own, given = self.resolved(run.base_profile).config.model, run.config.model
        return (own.depth, own.shortcut == "none") == (given.depth, given.shortcut == "none")


@cache
def sources() -> dict[str, Source]:
    """Name -> published net, in the order of the table. Errors: UserError for a line that does not say what it is."""
    path = CONFIGS / "published.yaml"
    found: dict[str, Source] = {}
    for publisher, part in read(path).items():
        shared = {key: value for key, value in part.items() if key != "weights"}
        for line in part.get("weights", []):
            try:
                source = Source(**{"publisher": publisher} | shared | line)
            except (TypeError, ValidationError) as error:
                raise UserError(f"{path}: {publisher}: {line}: {' '.join(str(error).split())[:200]}") from None
            found[source.name] = source
    return found


def source_of(path: Path) -> Source | None:
    """What a file is, by its content; None where it is none of the table. Errors: OSError where it cannot be read."""
    if not path.is_file():
        return None
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    return next((source for source in sources().values() if content.startswith(source.sha256)), None)


def files_in(folder: Path, wanted: Sequence[Source]) -> dict[str, Path]:
    """Name -> file of those published nets that a folder holds; weights that are not in the table are named and left.

    Errors: UserError where there is no such folder, where it holds no file of the wanted nets, and for a file that has
    the name of a wanted one and another content.
    """
    if not folder.is_dir():
        what = "a file; WEIGHTS names its folder" if folder.exists() else "no such folder; it holds the published files"
        raise UserError(f"{folder}: {what}")
    found: dict[str, Path] = {}
    unknown = []
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file()):
        try:
            source = source_of(path)
        except OSError as error:
            unknown.append(f"{path.name} ({error.strerror})")
            continue
        if source is None and (same := _of_that_name(path.name, wanted)):
            raise UserError(f"{path}: not the file that {same.home} published (another SHA-256); get it again")
        if source is None:
            unknown.append(path.name)
        elif source in wanted:
            found[source.name] = path
    if unknown:
        log(f"{folder}: not in configs/published.yaml, passed over: {', '.join(unknown)}")
    if not found:
        files = ", ".join(f"{source.file} ({source.home})" for source in wanted)
        raise UserError(f"{folder}: no file of published weights for this; known are {files or 'none'}")
    return found


def _of_that_name(name: str, wanted: Sequence[Source]) -> Source | None:
    """The net whose published file has that name, as it stands or with its publisher before it."""
    return next((s for s in wanted if name in (s.file, f"{s.publisher}-{s.file}")), None)


def disagreement(found: dict[str, Any]) -> str:
    """Why the error of published weights is not the one that their publisher claims; empty where they agree.

    Compared is what was measured as the publisher did: a single view, of ImageNet on the official images, of CIFAR-10
    on any but synthetic ones.
    """
    if "claimed" not in found:
        return ""
    images = found["data"]
    comparable = images["official"] or "top5_error" not in found and images["source"] != "synthetic"
    if found["protocol"] != "single" or found["deviations"] or not comparable:
        return ""
    difference = found["top1_error"] - found["claimed"]
    if abs(difference) <= AGREEMENT:
        return ""
    return f"{difference:+.2f} points away; are these the official images?"
