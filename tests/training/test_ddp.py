"""Three processes (gloo): equal weights after every batch of several iterations, and an exact test of uneven shards."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("mode", ["manual_backward", "micro", "raw"])
def test_ranks_hold_the_same_weights_and_count_each_image_once(tmp_path: Path, mode: str) -> None:
    """10 test images over 3 processes: shards of 4, 3 and 3. `raw` is the negative control: it must differ."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.helpers.ddp_ranks", mode]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["batches"] == 7  # of 2, 2, 1 | 2, 2, 1 | 2 iterations
    assert found["equal"] is (mode != "raw")
    reduced = {"manual_backward": [True] * 12, "micro": [False, True] * 12, "raw": []}  # once in each of 12 iterations
    assert found["reductions"] == reduced[mode]
    assert found["tested_alike"]  # the same BN statistics everywhere
    assert (found["counted"], found["n_test"]) == (10, 10)
