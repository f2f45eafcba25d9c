"""How fast demonstrations are recorded in direct mode, and what they take on disk.

    python benchmarks/demonstrations.py --episodes-per-task 11 --processes 2      # 33 tasks x 3 scenes x 11 = 1089 episodes

Runs `worldagen record --direct` into a temporary folder, opens every bag once, and writes the figures, with machine, date and
command, to benchmarks/results/demonstrations.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from record import write_result

from worldagen.bags.reader import open_bag
from worldagen_sim.demonstrations import ATTEMPTS, EPISODES


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--episodes-per-task", type=int, default=11)
    parser.add_argument("--scenes", default="A,B,C")
    parser.add_argument("--tasks", default="", help="default: all")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the bags go for a while (default: the system's temporary folder)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "demonstrations.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        out = Path(folder) / "recording"
        command = ["worldagen", "record", "--direct", "--scenes", args.scenes, "--out", str(out)]
        command += ["--episodes-per-task", str(args.episodes_per_task), "--processes", str(args.processes)]
        command += ["--tasks", args.tasks] if args.tasks else []
        begun = time.monotonic()
        subprocess.run(command, check=True)
        spent_s = time.monotonic() - begun
        attempts = [json.loads(line) for line in (out / ATTEMPTS).read_text(encoding="utf-8").splitlines()]
        messages = sum(open_bag(bag).message_count for bag in (out / EPISODES).glob("*/*/*"))
    kept = [attempt for attempt in attempts if attempt["kept"]]
    steps, size = sum(attempt["steps"] for attempt in kept), sum(attempt["size_bytes"] for attempt in kept)
    numbers = {
        "episodes": len(kept),
        "failed_attempts": len(attempts) - len(kept),
        "control_steps": steps,
        "median_steps": median(attempt["steps"] for attempt in kept),
        "messages": messages,
        "processes": args.processes,
        "seconds": round(spent_s, 1),
        "seconds_for_1000_episodes": round(1000 * spent_s / len(kept), 1),
        "control_steps_per_s": round(steps / spent_s, 1),
        "megabytes": round(size / 1e6, 1),
        "kilobytes_per_step": round(size / steps / 1e3, 2),
    }
    print(json.dumps(numbers, indent=1))
    write_result(args.out, numbers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
