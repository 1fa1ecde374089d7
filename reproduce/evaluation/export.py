"""A trained net to give away: weights as safetensors, their sha256, and a card that says what they are."""

import hashlib
from pathlib import Path

from reproduce.config.run import Run
from reproduce.evaluation.classification import evaluate, final_weights
from reproduce.evaluation.sources import AGREEMENT
from reproduce.utils.errors import UserError
from reproduce.utils.files import read_json, write_bytes, write_json

EXPORTS = Path("exports")

CARD = """# {run}, seed {seed}

A net of "Deep Residual Learning for Image Recognition" (He et al., 2015), trained on {name}: {layers} layers.

| | |
|---|---|
| parameters | {parameters:,} |
| test error | {test_error:.2f} % on {n_test:,} images, after the last iteration |
| data | {data} |
| training | {iterations} iterations, {precision}, `{command}` |
| commit | {commit} |
| weights | `model.safetensors`, sha256 of the file `{sha256}` |

For comparison with the paper and for teaching. Takes images of {size}x{size} pixels, normalised as its training images
were ({normalize}), and sorts them into the {classes} classes of its training data, nothing else.
"""


def export(run: Run) -> Path:
    """Write exports/<profile>/<run>/seed-<k>/{model.safetensors, result.json, README.md}; returns the folder."""
    content = final_weights(run).read_bytes()
    result = read_json(run.results / "result.json")
    if result is None:
        raise UserError(f"{run.results}/result.json: no result beside these weights; `{run.command()}` makes it")
    origin, folder = result["provenance"], EXPORTS / run.folder
    facts = {key: result[key] for key in ("run", "seed", "layers", "parameters", "n_test", "iterations")}
    facts |= {"test_error": result["metrics"]["test_error"], "data": origin["data"]["description"]}
    facts |= run.config.data.model_dump(include={"name", "normalize"})
    facts |= {"size": run.config.data.size, "classes": run.config.model.classes}
    facts |= {key: origin[key] for key in ("precision", "command", "commit")}
    card = CARD.format(**facts, sha256=hashlib.sha256(content).hexdigest())
    write_bytes(folder / "model.safetensors", content)
    write_json(folder / "result.json", result)
    write_bytes(folder / "README.md", card.encode())
    return folder


def tested_again(run: Run, folder: Path) -> tuple[bool, str]:
    """Whether the exported file tests to the number of its result, and that in words."""
    recorded = (read_json(folder / "result.json") or {})["metrics"]["test_error"]
    try:
        found = evaluate(run, folder / "model.safetensors")["top1_error"]
    except UserError as error:
        return True, f"not tested: {error}"
    return abs(found - recorded) <= AGREEMENT, f"tests to {found:.2f} %, result.json says {recorded:.2f} %"
