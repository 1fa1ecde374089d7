"""Every view and the report, made or refreshed from what `python -m paper_tables artefacts` wrote."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from reproduce.config import load
from reproduce.utils.errors import UserError


def dashboard(
    profile: str, overrides: Sequence[str], seeds: Iterable[int] | None, source: Path | None, out: Path | None
) -> int:
    """Make or refresh all of them; with `out` write their specifications there instead. Errors: UserError."""
    from reproduce.tracking.dashboard import send
    from reproduce.tracking.dashboard.report import report_of
    from reproduce.tracking.dashboard.source import read
    from reproduce.tracking.dashboard.views import view_of

    folder = profile if "+" in profile else load.profile_name(profile, overrides)
    found = read(source or Path("report") / folder / "artefacts.json", profile, overrides, seeds)
    place = send.offline_place() if out else send.place()
    views = {artefact["target"]: view_of(artefact, found, place) for artefact in found.artefacts}
    report = report_of(found, place)
    if out:
        models = {name: view._to_model().model_dump(by_alias=True, exclude_none=True) for name, view in views.items()}
        models["report"] = report._to_model().model_dump(by_alias=True, exclude_none=True)
        return _write(models, out)
    send.send(views, report, place)
    return 0


def _write(models: dict[str, Any], out: Path) -> int:
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, model in models.items():
            (out / f"{name}.json").write_text(json.dumps(model, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}") from None
    print(f"{len(models) - 1} views and the report, as W&B would get them: {out}")
    return 0
