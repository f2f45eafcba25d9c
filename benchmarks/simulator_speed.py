"""How fast the playtable runs: physics alone, and with both cameras by OpenGL and by ray casting.

    python benchmarks/simulator_speed.py --rounds 9

The cases take turns, round by round, so that other load on the machine meets them all; the medians of the rounds count. Prints
a table and writes it, with machine, date and command, to benchmarks/results/simulator_speed.json.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
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


def run_episode(environment: Environment, draw: bool, seed: int) -> tuple[float, float]:
    """Control steps per second of one expert episode, and seconds of its reset; the expert's own time is not counted."""
    begin = time.perf_counter()
    state = environment.reset("lift_red_block", "A", seed)
    reset_s = time.perf_counter() - begin
    expert, steps, spent_s = ExpertPolicy(), 0, 0.0
    expert.reset("lift_red_block")
    while not state.success and steps < 150:
        row = expert.plan(state.values, 1)[0]
        begin = time.perf_counter()
        state = environment.step(row)
        if draw:
            environment.render()
        spent_s += time.perf_counter() - begin
        steps += 1
    return steps / spent_s, reset_s


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="episodes of each case (default: 9)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "simulator_speed.json")
    args = parser.parse_args()
    with open_cases() as cases:
        speeds: dict[str, list[float]] = {name: [] for name in cases}
        resets: dict[str, list[float]] = {name: [] for name in cases}
        for seed in range(args.rounds + 1):
            for name, environment in cases.items():
                speed, reset_s = run_episode(environment, name != "physics only", seed)
                if seed > 0:  # the first round builds models and contexts
                    speeds[name].append(speed)
                    resets[name].append(reset_s)
    print(f"{'case':32} {'steps/s':>8} {'least':>7} {'most':>7} {'reset, ms':>10}")
    for name, values in speeds.items():
        print(f"{name:32} {median(values):8.1f} {min(values):7.1f} {max(values):7.1f} {1e3 * median(resets[name]):10.1f}")
    numbers = {"steps_per_s": {name: [round(value, 1) for value in values] for name, values in speeds.items()}}
    write_result(args.out, {"medians": {name: round(median(values), 1) for name, values in speeds.items()}, **numbers})
    return 0


if __name__ == "__main__":
    sys.exit(main())
