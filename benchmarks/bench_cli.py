"""Start-up of the command against a bare interpreter: medians of interleaved runs, and ratios.

Target: ``windlass --help`` at most 8 times ``python -c pass``, and at most 250 modules.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = int(os.environ.get("ROUNDS", "15"))
WINDLASS = str(Path(sys.executable).parent / "windlass")
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "windlass --help": [WINDLASS, "--help"],
    "windlass --version": [WINDLASS, "--version"],
    "windlass launch --help": [WINDLASS, "launch", "--help"],
    "windlass plugins list": [WINDLASS, "plugins", "list"],
    "windlass run list": [WINDLASS, "run", "list"],
}
MODULES = "import sys; from windlass_cli.main import run; run(['--help']); sys.stderr.write(str(len(sys.modules)))"


def main() -> int:
    """Print a table; return 1 when the target is missed."""
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "WINDLASS_HOME": home}
        times: dict[str, list[float]] = {name: [] for name in COMMANDS}
        for command in COMMANDS.values():  # byte-code and the database are made once
            subprocess.run(command, capture_output=True, check=True, env=env)
        for _ in range(ROUNDS):
            for name, command in COMMANDS.items():
                start = time.perf_counter()
                subprocess.run(command, capture_output=True, check=True, env=env)
                times[name].append(time.perf_counter() - start)
        counted = subprocess.run([sys.executable, "-c", MODULES], capture_output=True, check=True, env=env)
    base = statistics.median(times["python -c pass"])
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:24} {median * 1000:7.1f} ms  {median / base:5.1f} ×")
    modules = int(counted.stderr)
    ratio = statistics.median(times["windlass --help"]) / base
    print(f"windlass --help: {modules} modules, {ratio:.1f} × python -c pass (targets: 250, 8)")
    return 0 if ratio <= 8 and modules <= 250 else 1


if __name__ == "__main__":
    sys.exit(main())
