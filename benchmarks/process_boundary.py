"""What a simulator in a process of its own costs: 200 steps of the playtable here and there, in turns.

    python benchmarks/process_boundary.py --rounds 9

The same episode in the same model, so the difference of the medians is the boundary's: a call over the socket, the state as
JSON, and with pictures their one copy into shared memory. Prints a table and writes it, with machine, date and command, to
benchmarks/results/process_boundary.json.
"""

import argparse
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
from record import write_result

from worldagen_sim.environment import Environment
from worldagen_sim.playtable import make_playtable
from worldagen_sim.remote.environment import RemoteEnvironment
from worldagen_sim.remote.process import Launch

STEPS = 200
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    launch = Launch("playtable", "worldagen_sim.playtable:make_playtable", {"renderer": "raycast"})
    places = {"here": make_playtable(renderer="raycast"), "in its own process": RemoteEnvironment(launch)}
    spent: dict[tuple[str, str], list[float]] = {}
    for round_number in range(args.rounds):
        for name, environment in places.items():
            for what, seconds in play(environment, seed=round_number).items():
                spent.setdefault((name, what), []).extend(seconds)
    for environment in places.values():
        environment.close()
    medians = {f"{what} {name}, ms": 1e3 * median(seconds) for (name, what), seconds in spent.items()}
    for what in ("step", "pictures"):
        medians[f"{what}: the boundary, ms"] = medians[f"{what} in its own process, ms"] - medians[f"{what} here, ms"]
    for name, value in medians.items():
        print(f"{name:<40} {value:8.3f}")
    write_result(RESULTS / "process_boundary.json", {"rounds": args.rounds, "steps": STEPS, "medians": medians})


def play(environment: Environment, seed: int) -> dict[str, list[float]]:
    """Seconds of each step, and of each tenth step's pictures, of one episode."""
    random = np.random.default_rng(seed)
    environment.reset("open_drawer", "A", seed)
    spent: dict[str, list[float]] = {"step": [], "pictures": []}
    for step in range(STEPS):
        row = np.append(random.uniform(-0.01, 0.01, 6), 1.0)
        spent["step"].append(timed(lambda: environment.step(row)))  # noqa: B023 - called at once
        if step % 10 == 0:
            spent["pictures"].append(timed(environment.render))
    return spent


def timed(call) -> float:
    """Wall seconds of a call."""
    began_s = time.perf_counter()
    call()
    return time.perf_counter() - began_s


if __name__ == "__main__":
    sys.exit(main())
