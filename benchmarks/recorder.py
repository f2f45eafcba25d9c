"""The bag recorder under a robot's load: sent, recorded, dropped, its share of the processor, how far its queue filled.

    . scripts/activate && python benchmarks/recorder.py

Two 640x480 rgb8 cameras at 30 Hz (best effort) and joint states at 100 Hz come from another process (feeding.py), 55 MB/s.
The recorder node runs as in a deployment. Writes benchmarks/results/recorder.json.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from ament_index_python.packages import get_package_prefix
from record import write_result

from worldagen.bags.check import RECORDING
from worldagen.bags.reader import open_bag
from worldagen_ros.specs import PACKAGE
from worldagen_ros.stack import stack_environment

HERE = Path(__file__).parent
RESULT = HERE / "results" / "recorder.json"
UNDER_WAY_S = 1.0  # for what the middleware still holds when the feeder ends


def start_feeder(environment: dict[str, str], *arguments: str) -> "subprocess.Popen[str]":
    """feeding.py as a process; write nothing to it, close its input to end it."""
    command = [sys.executable, str(HERE / "feeding.py"), *arguments]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def start_recorder(environment: dict[str, str], folder: Path, **values: object) -> "subprocess.Popen[str]":
    """The recorder node as a process that records from its start into a bag of its own in the folder."""
    settings = {"recorder.folder": folder, "recorder.autostart": "true", "recorder.floor_mib": 0, "timing.mode": "realtime"}
    settings |= {f"recorder.{name}": value for name, value in values.items()}
    arguments = [item for key, value in settings.items() for item in ("-p", f"{key}:={value}")]
    program = Path(get_package_prefix(PACKAGE)) / "lib" / PACKAGE / "recorder_node"
    return subprocess.Popen([str(program), "--ros-args", *arguments], env=environment, stdout=subprocess.DEVNULL, text=True)


def own_environment() -> dict[str, str]:
    """The environment of the processes: a ROS domain that hardly anybody uses."""
    return stack_environment(os.environ, random.SystemRandom().randint(1, 100))


def measure(seconds: float, compression: str) -> dict[str, Any]:
    """One recording."""
    environment = own_environment()
    with tempfile.TemporaryDirectory(prefix="worldagen-") as folder:
        recorder = start_recorder(environment, Path(folder), compression=compression)
        feeder = start_feeder(environment, str(seconds))
        assert feeder.stdout is not None
        feeder.stdout.readline()  # it has begun
        processes = {"recorder": psutil.Process(recorder.pid), "feeder": psutil.Process(feeder.pid)}
        before, began_s = {name: cpu_s(process) for name, process in processes.items()}, time.monotonic()
        peak_mb, line = 0.0, []
        while time.monotonic() < began_s + seconds:
            peak_mb = max(peak_mb, processes["recorder"].memory_info().rss / 1e6)
            time.sleep(0.2)
        used_s = {name: cpu_s(process) - before[name] for name, process in processes.items()}
        wall_s = time.monotonic() - began_s
        line = feeder.stdout.readline()
        time.sleep(UNDER_WAY_S)
        recorder.send_signal(signal.SIGINT)
        recorder.wait(timeout=30)
        feeder.communicate(timeout=30)
        sent: dict[str, list[int]] = json.loads(line)
        with open_bag(next(Path(folder).iterdir())) as bag:
            found = {name: {message.publish_time_ns for message in bag.messages([name])} for name in sent}
            told, size = bag.metadata[RECORDING], bag.size_bytes
    counted = {key: sum(int(text) for name, text in told.items() if name.startswith(key)) for key in ("dropped ", "lost ")}
    return {
        "seconds": seconds,
        "sent": {name: len(stamps) for name, stamps in sent.items()},
        "recorded": {name: len(found[name] & set(stamps)) for name, stamps in sent.items()},
        "missing": sum(len(set(stamps) - found[name]) for name, stamps in sent.items()),
        "dropped_by_recorder": counted["dropped "],
        "lost_by_middleware": counted["lost "],
        "most_queued_messages": int(told["most_queued"]),
        "mb_per_s": round(size / seconds / 1e6, 1),
        "cpu_percent_of_a_core": {name: round(100 * used / wall_s, 1) for name, used in used_s.items()},
        "recorder_peak_memory_mb": round(peak_mb),
    }


def cpu_s(process: psutil.Process) -> float:
    """Processor time a process has used, user and system."""
    times = process.cpu_times()
    return times.user + times.system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each recording (default: 60)")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    results = {}
    for compression in ("zstd", "none"):
        results[compression] = measure(args.seconds, compression)
        print(f"{compression}: {results[compression]}", flush=True)
    write_result(args.out, results)


if __name__ == "__main__":
    main()
