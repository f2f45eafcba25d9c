"""Kill the bag recorder at random moments, again and again: how much is lost, and whether the rest is read back in full.

    . scripts/activate && python benchmarks/recorder_kill.py

Each round starts two 640x480 rgb8 cameras at 30 Hz with joint states at 100 Hz (feeding.py) and the recorder node, sends it
SIGKILL at a random moment, recovers its bag as `worldagen bag recover` does, which reads every message back, and
compares what came back with what was sent. Writes benchmarks/results/recorder_kill.json.
"""

import argparse
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from record import write_result
from recorder import own_environment, start_feeder, start_recorder

from worldagen.bags.reader import open_bag
from worldagen.bags.recover import recover_bag
from worldagen_ros.stack import clean_shared_memory

RESULT = Path(__file__).parent / "results" / "recorder_kill.json"
ALLOWED_S = 2.0  # of loss at the end
PATIENCE_S = 60.0  # for a recorder to begin
ENOUGH_BYTES = 1_000_000  # on disk, before the clock to the kill begins to run
LONGEST_S = 6.0  # from the first data on disk to the kill


Stamps = dict[str, list[int]]  # of messages, ns, by topic


def kill_once(folder: Path, after_s: float, compression: str) -> dict[str, Any]:
    """One round."""
    environment = own_environment()
    recorder = start_recorder(environment, folder, compression=compression, split_s=3.0)
    feeder = start_feeder(environment)
    try:
        wait_for_data(folder)
        time.sleep(after_s)
    finally:
        recorder.kill()
        killed_ns = time.time_ns()
        recorder.wait()
        told, _ = feeder.communicate(timeout=30)
        clean_shared_memory()
    recovery = recover_bag(next(folder.iterdir()), folder / "saved")
    with open_bag(recovery.folder) as saved:
        stamps: Stamps = {name: [] for name in recovery.topics}
        for message in saved.messages(by_time=False):
            stamps[message.topic].append(message.publish_time_ns)
    known = {
        "compression": compression,
        "killed_after_s": round(after_s, 3),
        "files": len(recovery.files),
        "messages": sum(topic.messages for topic in recovery.topics.values()),
    }
    return {**known, **judge(killed_ns, stamps, json.loads(told.splitlines()[-1]))}


def wait_for_data(folder: Path) -> None:
    """Until a bag has some content on disk."""
    deadline = time.monotonic() + PATIENCE_S
    while sum(file.stat().st_size for file in folder.glob("*/*.mcap")) < ENOUGH_BYTES:
        if time.monotonic() > deadline:
            raise SystemExit(f"the recorder wrote nothing within {PATIENCE_S:g} s")
        time.sleep(0.01)


def judge(killed_ns: int, found: Stamps, sent: Stamps) -> dict[str, Any]:
    """What came back against what was sent until the kill: seconds that each topic lacks at its end, and what lacks before."""
    lost_s, missing = {}, 0
    for name, all_sent in sent.items():
        before = [stamp_ns for stamp_ns in all_sent if stamp_ns <= killed_ns]
        back = found.get(name, [])
        lost_s[name] = round((before[-1] - (back[-1] if back else all_sent[0])) * 1e-9, 3)  # of none: all since the first
        if back:
            due = {stamp_ns for stamp_ns in before if back[0] <= stamp_ns <= back[-1]}
            missing += len(due - set(back))
    return {"lost_at_the_end_s": lost_s, "missing_before": missing}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="rounds (default: 50)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    moments, judged = random.Random(args.seed), []
    for number in range(args.kills):
        with tempfile.TemporaryDirectory(prefix="worldagen-") as folder:
            judged.append(kill_once(Path(folder), moments.uniform(0.0, LONGEST_S), ("zstd", "none")[number % 2]))
        print(f"{number + 1}/{args.kills}: {judged[-1]}", flush=True)
    worst = {name: max(item["lost_at_the_end_s"][name] for item in judged) for name in judged[0]["lost_at_the_end_s"]}
    numbers = {
        "kills": len(judged),
        "seed": args.seed,
        "recovered_and_verified": len(judged),  # recover_bag raises on anything else
        "lost_at_the_end_s_worst": worst,
        "lost_at_the_end_s_median": {
            name: sorted(item["lost_at_the_end_s"][name] for item in judged)[len(judged) // 2] for name in worst
        },
        "rounds_over_2_s": sum(max(item["lost_at_the_end_s"].values()) > ALLOWED_S for item in judged),
        "missing_before_the_end": sum(item["missing_before"] for item in judged),
        "messages_recovered": sum(item["messages"] for item in judged),
        "rounds": judged,
    }
    print({key: value for key, value in numbers.items() if key != "rounds"})
    write_result(args.out, numbers)


if __name__ == "__main__":
    main()
