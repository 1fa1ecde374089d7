"""Logging to Weights & Biases: off unless asked for, never read back, never in the way of a training."""

import http.client
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

from reproduce.config.run import Run
from reproduce.tracking.names import AXES, AXIS, LAYER, METRICS, Training, has_key, of_run, project
from reproduce.utils.console import log
from reproduce.utils.environment import commit
from reproduce.utils.errors import UserError, one_line

SECONDS = 2.5  # a server that has not answered by then is not waited for
START_SECONDS = 60  # its own service, on a machine that is busy
LOGIN_SECONDS = 5  # nor one that answers and then stops
# wandb's own metadata would hold host, user, e-mail address and command line: no place for what may be secret.
UNSAID = ("silent", "disable_git", "disable_code", "x_disable_meta", "x_disable_machine_info")


def logger(run: Run, folder: Path) -> Logger | None:
    """Lightning's WandbLogger for a run, started; None when off or when wandb cannot be used (one warning line)."""
    mode = run.config.execution.wandb
    if mode == "disabled":
        return None
    training = of_run(run, commit())
    try:
        import wandb  # noqa: F401 - one that is missing needs no word about servers

        return start(training, folder, _possible(mode))
    except Exception as error:
        without(error)
        return None


def without(error: Exception) -> None:
    """One line on why W&B has nothing of this run from here on."""
    log(f"W&B: not used ({one_line(error)})")


def _possible(mode: str) -> str:
    """`online` needs a key that is there already (a batch job must never meet a login prompt) and a server."""
    if mode != "online":
        return mode
    if not has_key():
        log("W&B: no WANDB_API_KEY and no netrc entry; continuing offline (`wandb sync` sends it later)")
        return "offline"
    if not _answers(_address()):
        log("W&B: no answer from the server; continuing offline (`wandb sync` sends it later)")
        return "offline"
    return mode


def _address() -> str:
    return os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")


def _answers(url: str) -> bool:
    """Whether a server says anything at all within SECONDS. wandb itself waits for 90 (wandb/wandb#6625, #2039)."""
    answered = threading.Event()

    def ask() -> None:
        with suppress(OSError, ValueError, http.client.HTTPException):
            with suppress(urllib.error.HTTPError):  # an answer, too
                urllib.request.urlopen(url, timeout=SECONDS).close()
            answered.set()

    thread = threading.Thread(target=ask, daemon=True)  # looking up the name has no time limit of its own
    thread.start()
    thread.join(SECONDS)
    return answered.is_set()


def start(training: Training, folder: Path, mode: str) -> Logger:
    """The run at W&B (`online`) or in a folder below `folder` (`offline`). Errors: those of wandb."""
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    patience = START_SECONDS if mode == "offline" else LOGIN_SECONDS
    settings = wandb.Settings(init_timeout=patience, finish_timeout=LOGIN_SECONDS, finish_timeout_raises=False)
    for name in UNSAID:
        setattr(settings, name, True)
    settings.console = "off"
    folder.mkdir(parents=True, exist_ok=True)
    wandb_logger = WandbLogger(
        project=project(),
        name=training.name,
        id=training.id,
        group=training.run,  # one run serves several tables and figures: they select runs, not the other way round
        job_type="train",
        tags=training.tags,
        save_dir=str(folder.resolve()),  # its service keeps the folder in which it was started
        offline=mode == "offline",
        log_model=False,
        resume="allow",
        config=training.shown,
        settings=settings,
    )
    experiment = wandb_logger.experiment
    for axis in (AXIS, LAYER):  # after the logger's own "*", which would take its step for the axis
        experiment.define_metric(axis)
    for pattern, axis in AXES.items():
        experiment.define_metric(pattern, step_metric=axis, summary="last")
    return wandb_logger


def point(wandb_logger: Logger, row: dict[str, float]) -> None:
    """One point of the curve, on our own `iteration` axis."""
    wandb_logger.log_metrics({METRICS.get(key, key): value for key, value in row.items()})


def finish(wandb_logger: Logger | None, summary: dict[str, Any] | None = None) -> None:
    """Close the run, so that the next training of this process is a run of its own."""
    if wandb_logger is None:
        return
    try:
        close(wandb_logger, summary)
    except Exception as error:
        without(error)


def close(wandb_logger: Logger, summary: dict[str, Any] | None = None) -> None:
    """As `finish`. Errors: those of wandb."""
    import wandb

    if summary:
        wandb_logger.experiment.summary.update(summary)  # type: ignore[attr-defined]
    wandb.finish()


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Errors: UserError of one line for whatever W&B has to say."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"W&B: {one_line(error)}; nothing is lost, the same command continues") from None


def entity(api: Any) -> str:
    """The account or team whose project is meant; empty where a key has none."""
    return str(api.settings.get("entity") or api.default_entity or "")


def server() -> Any:
    """W&B's own reading interface (`wandb.Api`). Errors: those of wandb, ConnectionError without a server.

    Without a server its service would be started in vain, and then keep later offline runs of this process waiting.
    """
    import wandb

    if not _answers(_address()):
        raise ConnectionError(f"no answer from {_address()}")
    return wandb.Api(timeout=4 * LOGIN_SECONDS)
