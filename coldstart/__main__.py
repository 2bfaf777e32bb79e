"""`python -m coldstart`."""

import sys

from coldstart.cli import main

if __name__ == "__main__":
    sys.exit(main())
