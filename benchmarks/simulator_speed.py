"""How fast the playtable runs: physics alone, and with both cameras by OpenGL and by ray casting.

    python benchmarks/simulator_speed.py --rounds 9

The cases take turns, round by round, so that other load on the machine meets them all; the medians of the rounds count. Steps
per processor second leave out the time that other programs took. Prints a table and writes it, with machine, date and command,
to benchmarks/results/simulator_speed.json.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from statistics import median

from record import write_result

from worldagen.errors import SimulatorError
from worldagen_sim.environment import Environment, make_environment
from worldagen_sim.experts import ExpertPolicy

GL_PLATFORMS = ("egl", "osmesa")


@contextmanager
def open_cases() -> Iterator[dict[str, Environment]]:
    """Name of a case -> its environment; OpenGL only where it exists."""
    cases = {"physics only": make_environment("playtable", renderer="raycast")}
    for platform in GL_PLATFORMS:
        try:
            cases[f"both cameras, OpenGL ({platform})"] = make_environment("playtable", renderer=platform)
            break
        except SimulatorError as error:
            print(error)
    cases["both cameras, ray casting"] = make_environment("playtable", renderer="raycast")
    yield cases
    for environment in cases.values():
        environment.close()


@dataclass(frozen=True)
class Speed:
    """Control steps per second of one episode, by the wall clock and by processor time of all threads; the reset's seconds."""

    per_s: float
    per_processor_s: float
    reset_s: float


def run_episode(environment: Environment, draw: bool, seed: int) -> Speed:
    """Time one expert episode; the expert's own time is not counted."""
    begin = time.perf_counter()
    state = environment.reset("lift_red_block", "A", seed)
    reset_s = time.perf_counter() - begin
    expert, steps, spent_s, busy_s = ExpertPolicy(), 0, 0.0, 0.0
    expert.reset("lift_red_block")
    while not state.success and steps < 150:
        row = expert.plan(state.values, 1)[0]
        begin, busy = time.perf_counter(), time.process_time()
        state = environment.step(row)
        if draw:
            environment.render()
        spent_s += time.perf_counter() - begin
        busy_s += time.process_time() - busy
        steps += 1
    return Speed(steps / spent_s, steps / busy_s, reset_s)


def median_of(speeds: list[Speed]) -> Speed:
    """The median of each number."""
    return Speed(*(median(column) for column in zip(*map(astuple, speeds), strict=True)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="episodes of each case (default: 9)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "simulator_speed.json")
    args = parser.parse_args()
    with open_cases() as cases:
        speeds: dict[str, list[Speed]] = {name: [] for name in cases}
        for seed in range(args.rounds + 1):
            for name, environment in cases.items():
                speed = run_episode(environment, name != "physics only", seed)
                if seed > 0:  # the first round builds models and contexts
                    speeds[name].append(speed)
    medians = {name: median_of(values) for name, values in speeds.items()}
    print(f"{'case':32} {'steps/s':>8} {'per processor second':>21} {'reset, ms':>10}")
    for name, middle in medians.items():
        print(f"{name:32} {middle.per_s:8.1f} {middle.per_processor_s:21.1f} {1e3 * middle.reset_s:10.1f}")
    numbers = {name: [asdict(speed) for speed in values] for name, values in speeds.items()}
    write_result(args.out, {"medians": {name: asdict(middle) for name, middle in medians.items()}, "episodes": numbers})
    return 0


if __name__ == "__main__":
    sys.exit(main())
