"""How fast the playtable runs: physics alone, with both cameras by OpenGL and by ray casting, and in many processes at once.

    python benchmarks/simulator_speed.py --rounds 9

The cases take turns, round by round, so that other load on the machine meets them all; the medians of the rounds count. Steps
per processor second leave out the time that other programs took. In parallel every process has an environment of its own, draws
and computes with one thread, and plays whole episodes, resets and the expert's thinking included; the gain is how many times
as many steps all make together as one does alone, in the same round; "arithmetic" is the gain of plain sums, which no simulator
can beat. Prints tables and writes them, with machine, date and command, to benchmarks/results/simulator_speed.json.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, astuple, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

from record import write_result

from worldagen.errors import SimulatorError
from worldagen_sim.environment import Environment, make_environment
from worldagen_sim.experts import ExpertPolicy

GL_PLATFORMS = ("egl", "osmesa")
TASK, SCENES, MOST_STEPS = "lift_red_block_table", "ABCD", 150


@dataclass(frozen=True)
class Speed:
    """Control steps per second of one episode, by the wall clock and by processor time of all threads.

    reset_s, first_picture_s: what beginning the episode takes; every episode has a model of its own.
    """

    per_s: float
    per_processor_s: float
    reset_s: float
    first_picture_s: float


def find_gl() -> str | None:
    """The OpenGL platform of this machine, or None, saying why."""
    for platform in GL_PLATFORMS:
        try:
            make_environment("playtable", renderer=platform).close()
            return platform
        except SimulatorError as error:
            print(error)
    return None


ARITHMETIC = "arithmetic"  # in place of a renderer: no simulator at all


@contextmanager
def open_cases(gl: str | None) -> Iterator[dict[str, Environment]]:
    """Name of a case -> its environment; OpenGL only where it exists."""
    cases = {"physics only": make_environment("playtable", renderer="raycast")}
    if gl:
        cases[f"both cameras, OpenGL ({gl})"] = make_environment("playtable", renderer=gl)
    cases["both cameras, ray casting"] = make_environment("playtable", renderer="raycast")
    yield cases
    for environment in cases.values():
        environment.close()


def run_episode(environment: Environment, draw: bool, seed: int) -> Speed:
    """Time one expert episode; the expert's own time is not counted."""
    begin = time.perf_counter()
    state = environment.reset(TASK, SCENES[seed % len(SCENES)], seed)
    reset_s = time.perf_counter() - begin
    if draw:
        environment.render()
    first_picture_s = time.perf_counter() - begin - reset_s
    expert, steps, spent_s, busy_s = ExpertPolicy(), 0, 0.0, 0.0
    expert.reset(TASK)
    while not state.success and steps < MOST_STEPS:
        row = expert.plan(state.values, 1)[0]
        begin, busy = time.perf_counter(), time.process_time()
        state = environment.step(row)
        if draw:
            environment.render()
        spent_s += time.perf_counter() - begin
        busy_s += time.process_time() - busy
        steps += 1
    return Speed(steps / spent_s, steps / busy_s, reset_s, first_picture_s)


def play(pipe: Connection, renderer: str, worker: int) -> None:
    """A process of the parallel case: told how many seconds to play, answers how many control steps it made per second."""
    if renderer == ARITHMETIC:
        count(pipe)
        return
    environment, seed = make_environment("playtable", renderer=renderer), 1000 * worker
    environment.reset(TASK, "A", seed)
    environment.render()
    pipe.send("ready")
    while seconds := pipe.recv():
        steps, begin, expert = 0, time.perf_counter(), ExpertPolicy()
        while time.perf_counter() - begin < seconds:
            seed += 1
            state, left = environment.reset(TASK, SCENES[seed % len(SCENES)], seed), MOST_STEPS
            expert.reset(TASK)
            while not state.success and left > 0 and time.perf_counter() - begin < seconds:
                state = environment.step(expert.plan(state.values, 1)[0])
                environment.render()
                steps, left = steps + 1, left - 1
        pipe.send(steps / (time.perf_counter() - begin))
    environment.close()


def count(pipe: Connection) -> None:
    """The same with sums instead of steps: what other work and the machine itself leave to two processes at a time."""
    pipe.send("ready")
    while seconds := pipe.recv():
        sums, begin = 0, time.perf_counter()
        while time.perf_counter() - begin < seconds:
            sum(number * number % 7 for number in range(2000))
            sums += 1
        pipe.send(sums / (time.perf_counter() - begin))


@contextmanager
def start_players(renderer: str, count: int) -> Iterator[list[Connection]]:
    """Processes that are ready to play; spawned, because an OpenGL context does not survive a fork."""
    # Software driver and BLAS would start as many threads as there are cores, in every process.
    os.environ["LP_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    context, pipes, processes = multiprocessing.get_context("spawn"), [], []
    for worker in range(count):
        here, there = context.Pipe()
        process = context.Process(target=play, args=(there, renderer, worker), daemon=True)
        process.start()
        there.close()
        pipes.append(here)
        processes.append(process)
    for pipe in pipes:
        pipe.recv()
    yield pipes
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send(0.0)
        process.join()


def play_together(pipes: list[Connection], seconds: float) -> float:
    """Control steps per second of all these processes together."""
    for pipe in pipes:
        pipe.send(seconds)
    return sum(pipe.recv() for pipe in pipes)


def measure_alone(gl: str | None, rounds: int) -> dict[str, Any]:
    with open_cases(gl) as cases:
        speeds: dict[str, list[Speed]] = {name: [] for name in cases}
        for seed in range(rounds + 1):
            for name, environment in cases.items():
                speed = run_episode(environment, name != "physics only", seed)
                if seed > 0:  # in the first round drivers compile their shaders
                    speeds[name].append(speed)
    medians = {name: Speed(*(median(column) for column in zip(*map(astuple, of), strict=True))) for name, of in speeds.items()}
    print(f"{'case':32} {'steps/s':>8} {'per processor second':>21} {'reset, ms':>10} {'first picture, ms':>18}")
    for name, middle in medians.items():
        beginning = f"{1e3 * middle.reset_s:10.1f} {1e3 * middle.first_picture_s:18.1f}"
        print(f"{name:32} {middle.per_s:8.1f} {middle.per_processor_s:21.1f} {beginning}")
    episodes = {name: [asdict(speed) for speed in of] for name, of in speeds.items()}
    return {"medians": {name: asdict(middle) for name, middle in medians.items()}, "episodes": episodes}


def measure_in_parallel(renderers: Sequence[str], rounds: int, seconds: float) -> dict[str, Any]:
    """Total steps per second of 1, 2, ... processes, up to the cores, and the gain over one; all renderers in every round."""
    counts = range(1, (os.cpu_count() or 1) + 1)
    played: dict[str, list[dict[int, float]]] = {renderer: [] for renderer in renderers}
    with ExitStack() as stack:
        players = {renderer: stack.enter_context(start_players(renderer, counts[-1])) for renderer in renderers}
        for _ in range(rounds):
            for renderer, pipes in players.items():
                played[renderer].append({count: play_together(pipes[:count], seconds) for count in counts})
    table: dict[str, Any] = {}
    for renderer, totals in played.items():
        table[renderer] = {}
        for count in counts:
            per_s, gain = median(t[count] for t in totals), median(t[count] / t[1] for t in totals)
            table[renderer][str(count)] = {"per_s": per_s, "gain": gain, "rounds_per_s": [t[count] for t in totals]}
            print(f"{count} processes, {renderer:10} {per_s:8.1f} /s together, gain {gain:.2f}")
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="episodes of each case, and rounds in parallel (default: 9)")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a round in parallel (default: 4)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "simulator_speed.json")
    args = parser.parse_args()
    gl = find_gl()
    numbers = measure_alone(gl, args.rounds)
    renderers = (ARITHMETIC, gl, "raycast") if gl else (ARITHMETIC, "raycast")
    parallel = measure_in_parallel(renderers, args.rounds, args.seconds)
    write_result(args.out, {**numbers, "parallel": parallel})
    return 0


if __name__ == "__main__":
    sys.exit(main())
