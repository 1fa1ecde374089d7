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
    project = send.offline_project() if out else send.online_project()
    views = {artefact["target"]: view_of(artefact, found, project) for artefact in found.artefacts}
    report = report_of(found, project)
    if out:
        _write(views | {"report": report}, out)
    else:
        send.send(views, report, project)
    return 0


def _write(made: dict[str, Any], out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, page in made.items():
            model = page._to_model().model_dump(by_alias=True, exclude_none=True)
            (out / f"{name}.json").write_text(json.dumps(model, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}") from None
    print(f"{len(made) - 1} views and the report, as W&B would get them: {out}")
