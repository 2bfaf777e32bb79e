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


def found() -> list[str]:
    """Modules of this package that measure something."""
    names = [module.name for module in pkgutil.iter_modules([str(HERE)])]
    return [n for n in names if "\ndef measure(" in (HERE / f"{n}.py").read_text(encoding="utf-8")]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(found())}; all by default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    given = parser.parse_args()
    if strange := set(given.names) - set(found()):
        parser.error(f"there is no benchmark {', '.join(strange)}; choose of {', '.join(found())}")
    given.out.mkdir(parents=True, exist_ok=True)
    rows, failed = [], []
    for name in given.names or found():
        print(f"\n{name} …", file=sys.stderr, flush=True)
        part = given.out / f"{name}.json"
        part.unlink(missing_ok=True)
        # A process of its own: what one leaves in memory must not trouble the next.
        options = ["--rounds", str(given.rounds), "--json", str(part.absolute())]
        code = f"from benchmarks.table import main; from benchmarks.{name} import measure"
        command = [sys.executable, "-c", f"{code}; main(measure)", *options]
        if subprocess.run(command, cwd=HERE.parent, stdout=sys.stderr).returncode:
            failed.append(name)
            continue
        rows += [Row(**row) for row in json.loads(part.read_text(encoding="utf-8"))]
    table = markdown(rows)
    (given.out / "table.md").write_text(table + "\n", encoding="utf-8")
    whole = json.dumps([row._asdict() for row in rows], ensure_ascii=False, indent=1)
    (given.out / "table.json").write_text(whole, encoding="utf-8")
    print(table)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
