"""Saves views and report at W&B, in place of those of the same name."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from wandb_workspaces._graphql import get_app_url
from wandb_workspaces.workspaces import internal

from reproduce.tracking import wandb_logger
from reproduce.tracking.names import need_key, project
from reproduce.utils.console import log
from reproduce.utils.environment import repository
from reproduce.utils.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """Where at W&B; `repository`: the web page of this code, to which commits are linked."""

    entity: str
    project: str
    app: str = "https://wandb.ai"
    repository: str | None = None

    @property
    def url(self) -> str:
        return f"{self.app}/{self.entity}/{self.project}"


def offline_place() -> Place:
    """As far as it is known without asking the server."""
    return Place(os.environ.get("WANDB_ENTITY") or "entity", project(), repository=web_page(repository()))


def place() -> Place:
    """Errors: UserError without a key, a network, or an account."""
    need_key()
    api = attempt(wandb_logger.server)
    entity = attempt(lambda: api.settings.get("entity") or api.default_entity)
    if not entity:
        raise UserError("W&B: this key has no account of its own: name one, WANDB_ENTITY=...")
    return Place(str(entity), project(), str(get_app_url(api)).rstrip("/"), web_page(repository()))


def web_page(remote: str | None) -> str | None:
    """https://host/owner/name of a git remote, without what a user may have written before the host; else None."""
    match = re.fullmatch(r"(?:https?://(?:[^@/]*@)?|git@|ssh://git@)([\w.-]+)[:/]([\w./-]+?)(?:\.git)?/?", remote or "")
    return f"https://{match[1]}/{match[2]}" if match else None


def attempt(action: Callable[[], T]) -> T:
    """Errors: UserError of one line for whatever W&B has to say."""
    try:
        return action()
    except UserError:
        raise
    except Exception as error:
        line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"W&B: {line}; nothing is lost, the same command continues") from None


def send(views: dict[str, Any], report: Any, place: Place) -> None:
    """Errors: UserError; what was saved before it stays, and is found again."""
    for target, view in views.items():
        view._internal_id = attempt(partial(_view_id, view, place)) or ""
        attempt(view.save)
        log(f"{target}: {place.url}?nw={_key(view)}")
    report.id = attempt(lambda: _report_id(report, place)) or ""
    attempt(report.save)
    log(f"report: {attempt(lambda: report.url)}")


def _key(view: Any) -> str:
    return str(view._internal_name).removeprefix("nw-").removesuffix("-v")


def _view_id(view: Any, place: Place) -> str | None:
    """The id of the saved view of that name. Errors: UserError where there is no such project."""
    try:
        return str(internal.get_view_dict(place.entity, place.project, _key(view))["id"])
    except ValueError as error:
        if "Project" in str(error):
            start = "start a training with WANDB=online or `make wandb-publish` first"
            raise UserError(f"W&B: no project {place.entity}/{place.project} for this key: {start}") from None
        return None


def _report_id(report: Any, place: Place) -> str | None:
    found = wandb_logger.server().reports(f"{place.entity}/{place.project}")  # its own `name` is another at each saving
    return next((str(item.id) for item in found if item.display_name == report.title), None)
