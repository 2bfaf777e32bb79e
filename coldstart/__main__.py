"""The command line's start: `coldstart`, and `python -m coldstart`."""

import sys

from coldstart.sigterm import heed


def main() -> int:
    """Answer signals, then import the command line, which takes a while, and run it."""
    heed()
    from coldstart.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
