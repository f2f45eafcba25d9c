"""How long scripts/setup takes from nothing, again when there is nothing to do, and again without any network.

    python benchmarks/setup_time.py --folder /tmp/fresh

Clones the committed checkout into the folder and runs there with an empty home, so that no cache of pip helps. Pip's own
settings (its PIP_ variables, certificates) are passed on. Needs 12 GB; the folder is removed at the end. The run
without network happens in a network name space of its own (`unshare -n`), which needs root.
"""

import argparse
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from record import write_result

ROOT = Path(__file__).resolve().parents[1]
STEP = re.compile(r"\[\d/6\] ([a-z ]+): .*\((\d+\.\d) s\)$")
PASSED_ON = ("PIP_", "SSL_CERT", "REQUESTS_CA", "LANG", "TERM")


def clean_environment(home: Path, environ: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in environ.items() if name.startswith(PASSED_ON)}
    kept |= {name: environ[name] for name in ("WORLDAGEN_PYTHON", "ROS_DISTRO") if name in environ}
    return {"PATH": os.defpath, "HOME": str(home), **kept}


def run_setup(checkout: Path, environ: Mapping[str, str], prefix: Sequence[str] = ()) -> dict[str, Any]:
    started = time.monotonic()
    run = subprocess.run(
        [*prefix, str(checkout / "scripts/setup")], env=dict(environ), text=True, stdout=subprocess.PIPE, check=True
    )
    total_s = time.monotonic() - started
    matches = map(STEP.match, run.stdout.splitlines())
    return {"total_s": round(total_s, 1), "steps_s": {match[1]: float(match[2]) for match in matches if match}}


def drop_file_cache() -> bool:
    """As after a restart: nothing of the environment is in memory. Only root may do it."""
    try:
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="a folder that does not exist yet")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True)
    try:
        home, checkout = arguments.folder / "home", arguments.folder / "checkout"
        home.mkdir()
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(checkout)], check=True)
        environ = clean_environment(home, os.environ)
        runs = {"first run": run_setup(checkout, environ), "second run": run_setup(checkout, environ)}
        if os.geteuid() == 0:
            runs["third run, no network"] = run_setup(checkout, environ, prefix=["unshare", "-n"])
        if drop_file_cache():
            runs["fourth run, nothing in the file cache"] = run_setup(checkout, environ)
        size = subprocess.run(["du", "-s", "-B", "1000000", checkout / ".venv"], capture_output=True, text=True, check=True)
    finally:
        shutil.rmtree(arguments.folder)
    for name, run in runs.items():
        print(f"{name}: {run['total_s']} s")
    memory_gb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    results = {"memory_gb": round(memory_gb), "environment_gb": round(int(size.stdout.split()[0]) / 1e3, 1), "runs": runs}
    write_result(ROOT / "benchmarks" / "results" / "setup.json", results)


if __name__ == "__main__":
    main()
