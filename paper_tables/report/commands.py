"""What to type for an artefact, and how much of it is there."""

from __future__ import annotations

from paper_tables.paper import Artefact
from paper_tables.results.evidence import Evidence
from paper_tables.results.reader import pick

OWN = ("data.root=", "data.shards=", "execution.")  # of a machine: they change no number


def make_command(artefact: Artefact, evidence: Evidence) -> str:
    return f"make {artefact.target} PROFILE={evidence.results.profile.partition('+')[0]}{variables(evidence)}"


def variables(evidence: Evidence) -> str:
    """What follows a target and its PROFILE for the data and the values of the trainings that are there."""
    changed = overrides(evidence)
    return (" DATA=$DATA" if needs_data(evidence) else "") + (f' SET="{changed}"' if changed else "")


def needs_data(evidence: Evidence) -> bool:
    """Whether the trainings that are there read their images from a folder that was named."""
    return any("data.root=" in training.provenance.get("command", "") for training in evidence.results.all_runs)


def overrides(evidence: Evidence) -> str:
    """The values that the command line changed in a profile <profile>+<hash8>: those of its first training."""
    results = evidence.results
    words = results.all_runs[0].provenance.get("overrides", []) if results.all_runs else []
    kept = [word for word in words if not word.startswith(OWN)]
    return " ".join(kept) if "+" in results.profile else ""


def missing_commands(artefact: Artefact, evidence: Evidence) -> list[str]:
    """What to type for each number of a trainable artefact that is not there yet."""
    data = "data.root=$DATA" if needs_data(evidence) else ""
    words = ("--profile", evidence.results.profile.partition("+")[0], data, overrides(evidence))
    option = " ".join(word for word in words if word)
    commands = []
    for run in (run for run in artefact.runs() if run not in evidence.results.refused):
        if run not in evidence.results.runs:
            commands.append(f"python -m reproduce train {run} {option}")
        if not measured(artefact, run, evidence):
            commands += [f"python -m reproduce {command} {option}" for command in measuring(artefact, run)]
    if "ensemble" in artefact.spec and not ensembles(artefact, evidence):
        members, protocol = " ".join(artefact.spec["ensemble"]), artefact.spec["eval"]
        commands.append(f"python -m reproduce ensemble {members} --protocol {protocol} {option}")
    return commands


def measuring(artefact: Artefact, run: str) -> list[str]:
    """The command that measures a trained net for an artefact; none where training alone gives the number."""
    if artefact.spec.get("figure") == "responses":
        return [f"responses {run}"]
    protocol = artefact.spec.get("eval")
    return [f"evaluate {run} --protocol {protocol}"] if protocol and "ensemble" not in artefact.spec else []


def measured(artefact: Artefact, run: str, evidence: Evidence) -> bool:
    """Is there what the artefact shows of a run: its training, its responses, its test by a protocol?"""
    trainings = evidence.trainings(run)
    if artefact.spec.get("figure") == "responses":
        return any(training.responses is not None for training in trainings)
    protocol = artefact.spec.get("eval")
    return any(training.evaluation(protocol) for training in trainings) if protocol else bool(trainings)


def ensembles(artefact: Artefact, evidence: Evidence) -> list[str]:
    return [name for name, found in evidence.results.ensembles.items() if pick(found, artefact.spec["eval"])]


def state_of(artefact: Artefact, evidence: Evidence) -> str:
    """measured, k of n runs, refused, not run; or the status of what is not trained here."""
    runs = artefact.runs()
    if not runs:
        return artefact.status
    if "ensemble" in artefact.spec:
        return "measured" if ensembles(artefact, evidence) else "not run"
    done = sum(measured(artefact, run, evidence) for run in runs)
    if not done:
        return "refused" if any(run in evidence.results.refused for run in runs) else "not run"
    return "measured" if done == len(runs) else f"{done} of {len(runs)} runs"
