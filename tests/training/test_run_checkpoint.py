"""A checkpoint is whole, though its writer was killed."""

import signal
import subprocess
import sys
from pathlib import Path

import torch

from coldstart.training.run_checkpoint import AtomicIO


def test_a_checkpoint_is_whole_though_its_writer_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    AtomicIO().save_checkpoint({"a": torch.zeros(1000)}, path)
    before = path.read_bytes()

    code = """if True:
        import os, signal, sys, torch
        from coldstart.training.run_checkpoint import AtomicIO

        class Killed:
            def __reduce__(self):
                os.kill(os.getpid(), signal.SIGKILL)

        AtomicIO().save_checkpoint({"a": torch.ones(100_000), "b": Killed()}, sys.argv[1])
    """
    done = subprocess.run([sys.executable, "-c", code, str(path)])
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2  # half a file beside it
    assert path.read_bytes() == before
