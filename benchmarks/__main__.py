"""All benchmarks, or those named, each in a process of its own → one table.

python -m benchmarks [NAME ...] [--rounds 3] [--out runs/bench]
"""

import argparse
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

from benchmarks.table import Row, markdown

HERE = Path(__file__).parent


def benchmark_names() -> list[str]:
    """Modules of this package that measure something."""
    names = [module.name for module in pkgutil.iter_modules([str(HERE)])]
    return [n for n in names if "\ndef measure(" in (HERE / f"{n}.py").read_text(encoding="utf-8")]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "names", nargs="*", help=f"some of {', '.join(benchmark_names())}; all by default"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.names) - set(benchmark_names())):
        choices = ", ".join(benchmark_names())
        parser.error(f"no benchmark is called {', '.join(unknown)}; choose from {choices}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    failures: list[str] = []
    for name in arguments.names or benchmark_names():
        print(f"\n{name} …", file=sys.stderr, flush=True)
        rows_file = arguments.out / f"{name}.json"
        rows_file.unlink(missing_ok=True)
        # A process of its own: what one leaves in memory must not affect the next.
        options = ["--rounds", str(arguments.rounds), "--json", str(rows_file.absolute())]
        code = f"from benchmarks.table import main; from benchmarks.{name} import measure"
        command = [sys.executable, "-c", f"{code}; main(measure)", *options]
        if subprocess.run(command, cwd=HERE.parent, stdout=sys.stderr).returncode:
            failures.append(name)
            continue
        rows += [Row(**row) for row in json.loads(rows_file.read_text(encoding="utf-8"))]
    table = markdown(rows)
    (arguments.out / "table.md").write_text(table + "\n", encoding="utf-8")
    text = json.dumps([row._asdict() for row in rows], ensure_ascii=False, indent=1)
    (arguments.out / "table.json").write_text(text, encoding="utf-8")
    print(table)
    if failures:
        print(f"failed: {', '.join(failures)}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
