"""How a test error was measured (sides, precision, BN statistics, images), and whether as the paper's protocol says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from paper_tables.paper import Artefact, Paper
from paper_tables.results.evidence import Evidence
from paper_tables.results.reader import RunResult, fingerprint_of

FP32 = ("fp32", "32", "32-true")
UNSAID = "not said"
MOVING = "BN statistics from moving averages"


@dataclass(frozen=True)
class Tested:
    """One test. A condition that its file does not name is None."""

    protocol: str
    sides: tuple[int, ...] | None
    precision: str | None
    bn_statistics: str | None
    n: int | None
    same_images: bool | None = True  # those of the training that the weights come from
    deviations: str = ""  # in what it is not the test that its run's configuration asks for

    @property
    def parts(self) -> dict[str, str]:
        """Each condition in words; moving averages and the training's own test images are the rule and stay unsaid."""
        return {
            "sides": _sides(self.sides),
            "precision": self.precision or f"precision {UNSAID}",
            "n": f"{self.n:,} images" if self.n else f"n {UNSAID}",
            "images": "" if self.same_images else "other images than the training's",
            "bn_statistics": _bn(self.bn_statistics),
        }

    def __str__(self) -> str:
        return f"{self.protocol}: {', '.join(part for part in self.parts.values() if part)}"

    def beside(self, other: Tested) -> str:
        """In what this test differs from another, in words; empty where it does not."""
        mine, theirs = self.parts, other.parts
        words = mine if mine["bn_statistics"] else mine | {"bn_statistics": MOVING}
        return ", ".join(words[key] for key in mine if mine[key] != theirs[key] and words[key])

    def unlike(self, wanted: dict[str, Any]) -> dict[str, str]:
        """In what it differs from the paper's protocol `wanted`, in words. The paper leaves BN statistics open."""
        if not wanted:
            return {"protocol": f"{self.protocol} is no protocol of the paper"}
        sides = tuple(int(side) for side in wanted["sides"])
        precisions = FP32 if wanted["precision"] == "fp32" else (wanted["precision"],)
        found = {}
        if self.sides != sides:
            found["sides"] = f"{_sides(self.sides)} instead of {_sides(sides)}"
        if self.precision not in precisions:
            found["precision"] = f"{self.parts['precision']} instead of {wanted['precision']}"
        if self.n != int(wanted["n"]):
            found["n"] = f"{self.parts['n']} instead of {int(wanted['n']):,}"
        if not self.same_images:
            found["images"] = self.parts["images"]
        return found


def _sides(sides: tuple[int, ...] | None) -> str:
    if sides is None:
        return f"sides {UNSAID}"
    return f"side{'s' if len(sides) > 1 else ''} {', '.join(map(str, sides))}"


def _bn(statistics: str | None) -> str:
    return "" if statistics in (None, "moving") else f"BN statistics {statistics}"


def of_evaluation(found: dict[str, Any], trained: str | None = None) -> Tested:
    """The conditions that an eval-*.json names. `trained`: the fingerprint of the images of the training."""
    fingerprint, sides = fingerprint_of(found), found.get("sides")
    same = fingerprint is not None and trained in (None, fingerprint)
    return Tested(
        protocol=str(found.get("protocol", "")),
        sides=None if sides is None else tuple(sides),
        precision=found.get("precision"),
        bn_statistics=found.get("bn_statistics"),
        n=found.get("n"),
        same_images=same,
        deviations=deviations_of(found),
    )


def deviations_of(found: dict[str, Any]) -> str:
    """In what an evaluation deviates from its run's configuration, as its file says."""
    given = found.get("deviations") or {}
    statistics = given.get("bn_statistics")
    words = [_sides(tuple(given["sides"]))] if "sides" in given else []
    words += [given["precision"]] if "precision" in given else []
    words += [MOVING if statistics == "moving" else _bn(statistics)] if statistics else []
    return ", ".join(words + (["other images"] if "fingerprint" in given else []))


def _configured(training: RunResult) -> dict[str, Any]:
    """eval.* of the configuration that a training records; empty where it does not."""
    config = training.provenance.get("config")
    found = config.get("eval") if isinstance(config, dict) else None
    return found if isinstance(found, dict) else {}


def _precision(training: RunResult, otherwise: str) -> str:
    """The precision of the test errors in result.json; where it is not recorded, the configured one."""
    return str(training.provenance.get("test_precision", _configured(training).get("precision", otherwise)))


def of_training(training: RunResult, wanted: dict[str, Any]) -> Tested:
    """The conditions of the errors in result.json; what is not recorded is taken to be the paper's, if it has any."""
    given = _configured(training)
    return Tested(
        protocol="single",
        sides=tuple(int(side) for side in wanted.get("sides", ())),  # those of data.*, which are part of the recipe
        precision=_precision(training, wanted.get("precision", training.provenance["precision"])),
        bn_statistics=given.get("bn_statistics", "moving"),
        n=int(training.result.get("n_test") or wanted.get("n", 0)),
    )


def words_of_training(training: RunResult) -> str:
    """How a training was tested, where that differs from how it was trained; else empty."""
    given, trained = _configured(training), training.provenance["precision"]
    precision = _precision(training, trained)
    words = [f"in {precision}"] if precision != trained else []
    words += [f"with {_bn(given['bn_statistics'])}"] if _bn(given.get("bn_statistics")) else []
    return f"tested {' '.join(words)}" if words else ""


@dataclass(frozen=True)
class Testing:
    """The tests behind one or several numbers, and the remarks on them, without repeats."""

    tests: tuple[Tested, ...] = ()
    words: tuple[str, ...] = ()
    unlike: tuple[tuple[str, str], ...] = ()  # what is not the paper's protocol: condition, in words
    deviations: tuple[str, ...] = ()  # what is not as configured

    def __or__(self, other: Testing) -> Testing:
        fields = zip(vars(self).values(), vars(other).values(), strict=True)
        return Testing(*(tuple(dict.fromkeys(mine + theirs)) for mine, theirs in fields))


def how_tested(trainings: Iterable[RunResult], paper: Paper, metric: str, protocol: str | None = None) -> Testing:
    """How the number `metric` of these trainings was tested; nothing for one that comes from no test."""
    found = Testing()
    for training in trainings if paper.metrics[metric].split == "test" else ():
        tested = tested_by(training, paper, metric, protocol)
        if tested is not None:
            words = str(tested) if protocol else words_of_training(training)
            unlike = tested.unlike(paper.protocol(training.run, tested.protocol))
            deviations = (tested.deviations,) if tested.deviations else ()
            found |= Testing((tested,), (words,) if words else (), tuple(unlike.items()), deviations)
    return found


def tested_by(training: RunResult, paper: Paper, metric: str, protocol: str | None) -> Tested | None:
    """The test that a number of one training comes from; None where it has no such number."""
    if protocol is None:
        return of_training(training, paper.protocol(training.run, "single"))
    found = training.evaluation(protocol)
    return None if not found or found.get(metric) is None else of_evaluation(found, fingerprint_of(training.provenance))


def how_tested_in(artefact: Artefact, evidence: Evidence) -> Testing:
    """How the numbers of ours that an artefact shows were tested."""
    found = Testing()
    for run, metric, protocol in dict.fromkeys((c.run, c.metric, c.protocol) for c in artefact.cells()):
        found |= how_tested(evidence.trainings(run), evidence.paper, metric, protocol)
    return found
