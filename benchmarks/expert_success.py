"""How often the scripted experts succeed: every task in every scene over many seeds, and chains of five tasks.

    python benchmarks/expert_success.py --episodes 200 --chains 100 --processes 2

The experts move as in demonstrations: a speed drawn for each episode, noise and bursts in what is executed. --steady is
the calm manner that the demo uses, --rows 5 plans five rows ahead and executes them open loop.

Prints a table and writes the numbers, with machine, date and command, to benchmarks/results/expert_success.json. Batches that
are done are kept in a file beside it, so that a run that was interrupted goes on where it was.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from record import write_result

from worldagen_sim.chains import score_chains
from worldagen_sim.environment import make_environment
from worldagen_sim.evaluation import STEPS_PER_TASK
from worldagen_sim.experts import DEMONSTRATOR, STEADY
from worldagen_sim.playtable.chains import draw_chain
from worldagen_sim.playtable.tasks import RULES
from worldagen_sim.rollout import ExpertActor, play_chain, play_episode

CHAINS = "chains of five"


@dataclass(frozen=True)
class Batch:
    """The episodes of one table row: seeds first_seed .. first_seed + episodes - 1. task: a task or CHAINS."""

    task: str
    scene: str
    manner: str
    rows: int
    first_seed: int
    episodes: int
    version: str

    @property
    def key(self) -> str:
        """What tells it from every other batch."""
        return json.dumps(asdict(self))


def run_batch(batch: Batch) -> dict:
    """Play a batch in an environment of its own; nothing is rendered. Steps are control steps of what succeeded."""
    environment = make_environment("playtable", renderer="raycast")
    actor = ExpertActor(batch.rows, STEADY if batch.manner == "steady" else DEMONSTRATOR)
    done, steps, failed = [], [], []
    for seed in range(batch.first_seed, batch.first_seed + batch.episodes):
        if batch.task == CHAINS:
            chain = draw_chain(seed)
            outcomes = play_chain(environment, actor, chain.tasks, batch.scene, seed, chain.conditions, STEPS_PER_TASK)
            in_a_row, count = sum(outcome.success for outcome in outcomes), sum(outcome.steps for outcome in outcomes)
            success = in_a_row == len(chain.tasks)
        else:
            outcome = play_episode(environment, actor, batch.task, batch.scene, seed, STEPS_PER_TASK)
            success, count, in_a_row = outcome.success, outcome.steps, int(outcome.success)
        done.append(in_a_row)
        steps += [count] if success else []
        failed += [] if success else [seed]
    environment.close()
    result = {
        **asdict(batch),
        "successes": batch.episodes - len(failed),
        "median_steps": median(steps or [0]),
        "most_steps": max(steps or [0]),
        "failed_seeds": failed,
    }
    return {**result, **asdict(score_chains(done))} if batch.task == CHAINS else result


def run_all(batches: list[Batch], processes: int, kept: Path) -> Iterator[dict]:
    """The results as they come; those in the kept file first."""
    known = {}
    if kept.exists():
        known = {item["key"]: item["result"] for item in map(json.loads, kept.read_text(encoding="utf-8").splitlines())}
    yield from (known[batch.key] for batch in batches if batch.key in known)
    with ProcessPoolExecutor(processes) as pool, kept.open("a", encoding="utf-8") as file:
        jobs = {pool.submit(run_batch, batch): batch for batch in batches if batch.key not in known}
        for job in as_completed(jobs):
            file.write(json.dumps({"key": jobs[job].key, "result": job.result()}) + "\n")
            file.flush()
            yield job.result()


def table_line(result: dict) -> str:
    """One row of the table."""
    success = f"{result['successes']}/{result['episodes']}"
    if "rates" in result:
        more = " ".join(f"{100 * rate:.1f}" for rate in result["rates"]) + f" %, mean length {result['mean_length']:.2f}"
    else:
        more = " ".join(map(str, result["failed_seeds"]))
    steps = f"{result['median_steps']:7.0f} {result['most_steps']:5d}"
    return f"{result['task']:24} {result['scene']:>5} {result['rows']:4d}   {success:>9} {steps}         {more}"


def markdown(outcomes: list[dict]) -> str:
    """The table of the docs: one row a task, one column a scene."""
    scenes = sorted({result["scene"] for result in outcomes})
    lines = [f"| task | {' | '.join(scenes)} | steps |", "| --- |" + " --- |" * (len(scenes) + 1)]
    by_task: dict[str, dict[str, dict]] = {}
    for result in outcomes:
        by_task.setdefault(result["task"], {})[result["scene"]] = result
    for task, found in by_task.items():
        steps = f"{median(result['median_steps'] for result in found.values()):.0f}"
        if task == CHAINS:
            cells = [f"{found[scene]['mean_length']:.2f}" for scene in scenes]
            lines.append(f"| {task}, mean length | {' | '.join(cells)} | |")
        else:
            lines.append(f"| `{task}` | {' | '.join(str(found[scene]['successes']) for scene in scenes)} | {steps} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--show", type=Path, help="print the table of a result, and end")
    parser.add_argument("--episodes", type=int, default=200, help="per task and scene (default: 200)")
    parser.add_argument("--chains", type=int, default=100, help="per scene (default: 100)")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--scenes", default="A,B,C,D")
    parser.add_argument("--tasks", default=",".join(RULES))
    parser.add_argument("--rows", type=int, default=1, help="planned ahead and executed open loop (default: 1)")
    parser.add_argument("--steady", action="store_true", help="calm experts, without noise")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "expert_success.json")
    args = parser.parse_args()
    if args.show:
        print(markdown(json.loads(args.show.read_text(encoding="utf-8"))["outcomes"]))
        return 0
    manner, version = "steady" if args.steady else "demonstrator", make_environment("playtable", renderer="raycast").version
    batches = [
        Batch(task, scene, manner, args.rows, args.first_seed, episodes, version)
        for task, episodes in [*((task, args.episodes) for task in args.tasks.split(",")), (CHAINS, args.chains)]
        for scene in args.scenes.split(",")
        if episodes
    ]
    print(f"{'task':24} {'scene':>5} {'rows':>4}   {'success':>9} {'median':>7} {'most':>5} steps   failed seeds, rates")
    results = []
    for result in run_all(batches, args.processes, args.out.with_suffix(".partial.jsonl")):
        results.append(result)
        print(table_line(result), flush=True)
    order = {batch.key: index for index, batch in enumerate(batches)}
    results.sort(key=lambda result: order[Batch(**{name: result[name] for name in asdict(batches[0])}).key])
    write_result(args.out, {"outcomes": results})
    args.out.with_suffix(".partial.jsonl").unlink()
    singles = [result for result in results if result["task"] != CHAINS]
    worst = min(singles, key=lambda result: result["successes"] / result["episodes"])
    share = worst["successes"] / worst["episodes"]
    print(f"worst: {worst['task']} in scene {worst['scene']}, {100 * share:.1f} %")
    return 0 if share >= 0.95 else 1


if __name__ == "__main__":
    sys.exit(main())
