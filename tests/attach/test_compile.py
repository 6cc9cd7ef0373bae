"""What torch.compile makes of a script is the same with the recorder in it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from laptime.launch.recorded import recorder_environment

SCRIPT = Path(__file__).parents[1] / "zoo" / "compile_modes.py"


def graphs_breaks_and_loss(mode, environ):
    command = [sys.executable, "-W", "ignore", str(SCRIPT), mode]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


@pytest.mark.zoo
@pytest.mark.parametrize("mode", ["module", "in place", "inner", "function", "scripted", "step"])
def test_graphs_breaks_and_losses_are_the_same_with_the_recorder(mode, tmp_path):
    without = graphs_breaks_and_loss(mode, dict(os.environ))
    recorded = graphs_breaks_and_loss(mode, recorder_environment(tmp_path))
    assert recorded == without
    assert "torch" in (tmp_path / "trace.jsonl").read_text()
