"""How often the scripted experts succeed: every task in every scene over many seeds, planned 1 and 5 rows ahead.

    python benchmarks/expert_success.py --episodes 100 --processes 2

Prints a table and writes the numbers, with machine, date and command, to benchmarks/results/expert_success.json.
"""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from record import write_result

from worldagen_sim.environment import Environment, make_environment
from worldagen_sim.experts import EXPERTS, ExpertPolicy


@dataclass(frozen=True)
class Batch:
    """The episodes of one table row: seeds first_seed .. first_seed + episodes - 1."""

    task: str
    scene: str
    rows: int
    first_seed: int
    episodes: int
    most_steps: int


@dataclass(frozen=True)
class Outcome:
    """What became of a batch; steps are control steps of the episodes that succeeded."""

    batch: Batch
    successes: int
    median_steps: float
    most_steps: int
    failed_seeds: tuple[int, ...]


def run_batch(batch: Batch) -> Outcome:
    """Play a batch in an environment of its own. Nothing is rendered."""
    environment = make_environment("playtable", renderer="raycast")
    seeds = range(batch.first_seed, batch.first_seed + batch.episodes)
    steps = {seed: run_episode(environment, batch, seed) for seed in seeds}
    environment.close()
    done = [count for count in steps.values() if count is not None]
    failed = tuple(seed for seed, count in steps.items() if count is None)
    return Outcome(batch, len(done), median(done or [0]), max(done or [0]), failed)


def run_episode(environment: Environment, batch: Batch, seed: int) -> int | None:
    """Control steps until success, each plan executed open loop to its end; None without success."""
    state, expert, count = environment.reset(batch.task, batch.scene, seed), ExpertPolicy(), 0
    expert.reset(batch.task)
    while count < batch.most_steps:
        for row in expert.plan(state.values, batch.rows):
            state, count = environment.step(row), count + 1
            if state.success:
                return count
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--episodes", type=int, default=100, help="per task, scene and number of rows (default: 100)")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--scenes", default="A,B,C,D")
    parser.add_argument("--rows", default="1,5", help="rows planned ahead and executed open loop (default: 1,5)")
    parser.add_argument("--most-steps", type=int, default=150)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "expert_success.json")
    args = parser.parse_args()
    batches = [
        Batch(task, scene, int(rows), args.first_seed, args.episodes, args.most_steps)
        for rows in args.rows.split(",")
        for scene in args.scenes.split(",")
        for task in EXPERTS
    ]
    print(f"{'task':24} {'scene':>5} {'rows':>4}   {'success':>9} {'median':>7} {'most':>5} steps   failed seeds")
    outcomes = []
    with ProcessPoolExecutor(args.processes) as pool:
        for outcome in pool.map(run_batch, batches):
            outcomes.append(outcome)
            print(table_line(outcome), flush=True)
    write_result(args.out, {"outcomes": [asdict(outcome) for outcome in outcomes]})
    worst = min(outcome.successes / outcome.batch.episodes for outcome in outcomes)
    print(f"worst: {100 * worst:.0f} %")
    return 0 if worst >= 0.95 else 1


def table_line(outcome: Outcome) -> str:
    batch = outcome.batch
    success = f"{outcome.successes}/{batch.episodes}"
    failed = " ".join(map(str, outcome.failed_seeds))
    steps = f"{outcome.median_steps:7.0f} {outcome.most_steps:5d}"
    return f"{batch.task:24} {batch.scene:>5} {batch.rows:4d}   {success:>9} {steps}         {failed}"


if __name__ == "__main__":
    sys.exit(main())
