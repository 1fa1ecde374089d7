"""kill -9 at any moment: the same command again gives the same bits, and nothing is left behind."""

import random
import signal
import socket
from pathlib import Path

import pytest

from reproduce.training import checkpoint
from tests.helpers.figures import Figure
from tests.reliability.trainings import WORDS, Training, kill_until_done, seconds_of

pytestmark = pytest.mark.reliability
TWO = (*WORDS, "model.bn_group=4")


def survive(
    tmp_path: Path, figure: Figure, *, runs: int, kills: int, processes: int, words: tuple[str, ...] = WORDS
) -> None:
    """`kills` kills spread over `runs` runs; weights, curve and files are compared with a run left in peace."""
    length = seconds_of(peace := Training(tmp_path / "peace", words, processes))
    temporary, draw = tmp_path / "tmp", random.Random(1512)
    temporary.mkdir()
    identical = made = unreadable = left = 0
    for number in range(runs):
        training = Training(tmp_path / f"run-{number}", words, processes, {"TMPDIR": str(temporary)})
        share = kills // runs + (number < kills % runs)
        more, bad = kill_until_done(training, share, length, draw)
        made, unreadable = made + more, unreadable + bad
        identical += training.outcome() == peace.outcome()
        left += len(training.left_behind())
    left += len(list(temporary.iterdir()))
    what = f"kill -9 of a training on {processes} process{'es' * (processes > 1)}"
    reached = f"{identical}/{runs} identical, {unreadable} unreadable, {left} left behind ({made} kills)"
    figure("T3", what, reached=reached, demanded=f"{runs}/{runs} identical, 0 unreadable, 0 left behind")
    assert (identical, unreadable, left) == (runs, 0, 0)
    assert made > 0


def test_killed_and_started_again(tmp_path: Path, figure: Figure) -> None:
    survive(tmp_path, figure, runs=1, kills=3, processes=1)


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "words"), [(1, WORDS), (2, TWO)])
def test_fifty_kills_over_twenty_runs(tmp_path: Path, figure: Figure, processes: int, words: tuple[str, ...]) -> None:
    """Of two processes either may be the one that dies: the other leaves, and both start again."""
    survive(tmp_path, figure, runs=20, kills=50, processes=processes, words=words)


def test_killed_between_the_files_of_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each moment at the end, and what a writer leaves: the next start finishes or only tidies."""
    training = Training(tmp_path / "run")
    assert training.run() == [0]
    outcome = training.outcome()
    folder = next(training.place.glob("runs/*/*/*"))
    results = next(training.place.glob("results/*/*/*"))
    dead = 4_000_000  # beyond the largest process number
    for place in (folder, results):
        (place / f".result.json.{dead}@{socket.gethostname()}.tmp").write_text("{")
    (folder / "state-00000011.pt").write_bytes(b"a state that outlived its run")
    assert training.run() == [0]
    assert training.left_behind() == []
    (results / "result.json").unlink()  # killed before the last file, and without a state: trained anew
    assert training.run() == [0]
    assert training.outcome() == outcome


def test_a_kill_is_seen_by_these_tests(tmp_path: Path, figure: Figure) -> None:
    """Negative control: with states that forget the momentum the comparison fails."""
    training = Training(tmp_path / "run")
    training.start()
    training.wait_for_a_state()
    training.signal(signal.SIGKILL)
    assert training.wait() == [-signal.SIGKILL]
    for path in training.place.glob("runs/*/*/*/state-*.pt"):
        state = checkpoint.load(path)
        for moment in state["optimizer"]["state"].values():
            moment["momentum_buffer"].zero_()
        checkpoint.save(path.parent, state)
    assert training.run() == [0]
    peace = Training(tmp_path / "peace")
    assert peace.run() == [0]
    seen = training.outcome() != peace.outcome()
    figure(
        "T2",
        "negative control: states that forget the momentum",
        reached="differs" if seen else "equal",
        demanded="differs",
    )
    assert seen
