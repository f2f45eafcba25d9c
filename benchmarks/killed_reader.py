"""How long a publisher waits when its readers are killed: through Fast DDS's shared memory, and over UDP.

    . scripts/activate && python benchmarks/killed_reader.py --kills 80

One process publishes 1280x720 rgb8 pictures, best effort, up to a hundred a second. Four readers at a time come, are killed
(SIGKILL) at random moments, and stay away for six seconds, so that nobody takes over what they left. Every publish is timed;
one that has not returned a minute after everything is over counts as stuck, and the publisher is killed. Once with each of the
package's two profiles. Prints a table and writes it to benchmarks/results/killed_reader.json.
"""

import argparse
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from record import write_result

from worldagen_ros.specs import PICTURES_PROFILE, UDP_PROFILE
from worldagen_ros.stack import clean_shared_memory, stack_environment

RESULT = Path(__file__).parent / "results" / "killed_reader.json"
READERS = 4  # at a time
COMES_S, AWAY_S = 5.0, 6.0
LATE_S = 0.1
STUCK_S = 60.0


def publish(seconds: float) -> None:
    """The publisher's process: prints, of each publish, when it returned (monotonic clock) and how long it took, in seconds."""
    import rclpy
    from sensor_msgs.msg import Image

    from worldagen_ros import qos

    rclpy.init()
    publisher = rclpy.create_node("camera").create_publisher(Image, "picture", qos.images_in())
    picture = Image(data=bytes(1280 * 720 * 3))
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        begun_s = time.monotonic()
        publisher.publish(picture)
        returned_s = time.monotonic()
        print(f"{returned_s:.6f} {returned_s - begun_s:.6f}", flush=True)
        time.sleep(0.01)
    os._exit(0)  # what is left of killed readers may keep the middleware from being taken down, which is not the question here


def read() -> None:
    """A reader's process."""
    import rclpy
    from sensor_msgs.msg import Image

    from worldagen_ros import qos

    rclpy.init()
    node = rclpy.create_node(f"reader{os.getpid()}")
    node.create_subscription(Image, "picture", lambda _: None, qos.images_in(), raw=True)
    rclpy.spin(node)


def measure(profile: str, kills: int, chance: random.Random) -> dict[str, Any]:
    """All kills with one profile."""
    environment = stack_environment(os.environ, chance.randrange(60, 100), profile)
    rounds = max(1, kills // READERS)
    seconds = rounds * (COMES_S + AWAY_S)
    command = [sys.executable, __file__]
    said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed below; a pipe that nobody empties would hold the publisher up
    publisher = subprocess.Popen([*command, "--publish", str(seconds)], env=environment, stdout=said)
    try:
        for _ in range(rounds):
            readers = [subprocess.Popen([*command, "--read"], env=environment) for _ in range(READERS)]
            time.sleep(COMES_S)
            for reader in readers:
                time.sleep(chance.uniform(0.0, 0.05))  # that is what makes the moment a random one
                reader.kill()
                reader.wait()
            time.sleep(AWAY_S)
        with contextlib.suppress(subprocess.TimeoutExpired):
            publisher.wait(timeout=STUCK_S)
    finally:
        ended = publisher.poll() is not None
        publisher.kill()
        publisher.wait()
        clean_shared_memory()
    said.seek(0)
    lines = [tuple(map(float, line.split())) for line in said]
    said.close()
    stuck_s = 0.0 if ended else time.monotonic() - lines[-1][0]
    took = sorted(one for _, one in lines)
    late = [one for one in took if one > LATE_S]
    return {
        "profile": profile,
        "kills": rounds * READERS,
        "publishes": len(took),
        "median_ms": round(took[len(took) // 2] * 1e3, 3),
        "longest_ms": round(took[-1] * 1e3, 1),
        "longer_than_100_ms": len(late),
        "waited_in_these_s": round(sum(late), 1),
        "stuck_in_the_last_for_s": round(stuck_s, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--publish", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--read", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.publish:
        return publish(args.publish)
    if args.read:
        return read()
    chance = random.Random(args.seed)
    found = [measure(profile, args.kills, chance) for profile in (PICTURES_PROFILE, UDP_PROFILE)]
    for one in found:
        print("  ".join(f"{name} {value}" for name, value in one.items()))
    write_result(RESULT, {"profiles": found})
    return None


if __name__ == "__main__":
    main()
