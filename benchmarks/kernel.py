"""How the solution of `Kernel` grows with the number of training tracks.

  python -m benchmarks.kernel [TRACKS …]

Invented content (400 numbers a track, of 40 kinds) and vectors (256) that bend with it; the choice
of kernel and penalty is left out, for it is made on 2,000 tracks whatever their number.
"""

from __future__ import annotations

import resource
import sys
import time

import torch

from coldstart.fusion.base import Solvable
from coldstart.fusion.kernel import Kernel

TRACKS = (2_000, 4_000, 8_000, 16_000, 32_000)
WIDTH, FACTORS = 400, 256


def catalogue(tracks: int) -> Solvable:
    """Content and vectors."""
    generator = torch.Generator().manual_seed(0)
    kinds = torch.rand(40, WIDTH, generator=generator)
    mix = torch.softmax(3 * torch.randn(tracks, 40, generator=generator), dim=1)
    content = mix @ kinds + 0.02 * torch.randn(tracks, WIDTH, generator=generator)
    vectors = (4 * mix @ torch.randn(40, FACTORS, generator=generator)).sin()
    vectors += 0.5 * torch.randn(tracks, FACTORS, generator=generator)
    present = {"content": torch.ones(tracks, dtype=torch.bool)}
    return Solvable({"content": content}, present, vectors, torch.arange(tracks))


def main() -> None:
    """Print a line for each number of tracks."""
    print("tracks | seconds | processor seconds | peak memory MB | how")
    for tracks in [int(arg) for arg in sys.argv[1:]] or TRACKS:
        rows = catalogue(tracks)
        head = Kernel(kernel="laplace", penalties=(0.03,))
        head.build({"content": WIDTH}, FACTORS)
        began, processor = time.perf_counter(), time.process_time()
        said = head.solve(lambda rows=rows: [rows])  # type: ignore[misc]
        seconds, processor = time.perf_counter() - began, time.process_time() - processor
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        how = said.rpartition("(of a sample, to choose by)")[2].lstrip("; ") or "one matrix"
        print(f"{tracks:,} | {seconds:.1f} | {processor:.1f} | {peak:,.0f} | {how}", flush=True)


if __name__ == "__main__":
    main()
