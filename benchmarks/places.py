"""What a bank of places is worth: in places between those of the bank and beyond them, on the same episodes, in pairs.

    python benchmarks/places.py --out out/places

The bank has adapters of A, B, C and five graded perturbations. In each held-out place the arms below play the same episodes of
every task, and foresee the same episodes of the expert. Every step is a command that a user has (`worldagen record, explore,
adapt, bank, evaluate`) in a folder of its own below --out: stop it at any time, and run it again to go on.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from record import command_line, write_result

from worldagen.adaptation.adapter import read_manifest
from worldagen.checkpoint import find_checkpoint
from worldagen_ros.evaluating import evaluate, open_evaluation
from worldagen_ros.stack import stack_environment
from worldagen_sim.evaluation import EvaluationRequest
from worldagen_sim.paired import compare, pair_tasks

RESULTS = Path(__file__).parent / "results"
TRAINED_IN = ("A", "B", "C")
BANK = {  # name of a place -> its scene
    "a": "A", "b": "B", "c": "C", "a-light": "A+light:1", "b-dusk": "B+light@1:1", "a-camera": "A+camera:1",
    "b-texture": "B+texture:1", "c-texture": "C+texture@1:1",
}  # fmt: skip
HELD_OUT = {  # scene -> where it is
    "A+camera:0.5": "between A and a-camera",
    "B+texture:0.5": "between B and b-texture",
    "A+camera:1+light:1": "beyond a-camera and a-light, which it has both of",
    "D": "beyond all",
}
FEW, MANY = 8, 40  # rollouts of one exploration, and of five
ROUTED = {  # arm -> values of the router
    "nearest": {"route": "nearest"},
    "uniform": {"route": "uniform"},
    "mixture of 1": {"route": "mixture", "active": "1"},
    "mixture of 3": {"route": "mixture", "active": "3"},
    "mixture of 5": {"route": "mixture", "active": "5"},
}
REFINED = "mixture of 3, refined"
NEW = {  # arm -> rollouts of the exploration, whether it starts from the mixture
    "new from zero, 1 exploration": (FEW, False),
    "new from the mixture, 1 exploration": (FEW, True),
    "new from zero, 5 explorations": (MANY, False),  # the oracle: made in this very place as the bank's adapters in theirs
    "new from the mixture, 5 explorations": (MANY, True),
}
AS_MEASURED = ("--set", "optimiser.windows_per_step=0")  # `default` as it was when results/places.json was made
BASE, REFERENCES = "base", ("base", "nearest")


class Bench:
    """The folders, and what is made in them."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.root = args, args.out
        self.checkpoint = find_checkpoint(args.checkpoint)

    def once(self, made: Path, *words: object) -> Path:
        """Run a command of ours unless it has ended already, which is told by what it said."""
        said = self.said(made)
        if not said.exists():
            for folder in (made.parent, said.parent):
                folder.mkdir(parents=True, exist_ok=True)
            print("worldagen", *words, flush=True)
            aside = said.with_suffix(".part")  # names of scenes have dots, but before the last one
            with open(aside, "w", encoding="utf-8") as out, open(said.with_suffix(".log"), "w", encoding="utf-8") as log:
                done = subprocess.run(["worldagen", *map(str, words)], stdout=out, stderr=log, check=False)
            if done.returncode:
                raise SystemExit(f"worldagen {shlex.join(map(str, words))} failed: see {log.name}")
            aside.rename(said)
        return made

    def said(self, made: Path) -> Path:
        """Where the words of a command go that makes something below the root."""
        return self.root / "said" / f"{_plain(str(made.relative_to(self.root)))}.txt"

    def explored(self, scene: str, rollouts: int) -> Path:
        """The bag of an exploration."""
        bag = self.root / "explorations" / f"{_plain(scene)}_{rollouts}"
        if not self.said(bag).exists():
            shutil.rmtree(bag, ignore_errors=True)  # of a run that was stopped
        return self.once(
            bag, "explore", "--env", "playtable", "--scene", scene, "--checkpoint", self.checkpoint, "--rollouts", rollouts,
            "--seed", rollouts, "--out", bag, "--direct",
        )  # fmt: skip

    def adapted(self, scene: str, rollouts: int, start: Path | None = None) -> Path:
        """The folder of an adapter."""
        out = self.root / "adapters" / f"{_plain(scene)}_{rollouts}{'_mixture' if start else ''}"
        begin = ("--start", start) if start else ()
        bag = self.explored(scene, rollouts)
        self.once(out, "adapt", "--bag", bag, "--checkpoint", self.checkpoint, "--out", out, *AS_MEASURED, *begin)
        return _one_of(out)

    def known(self) -> list[str]:
        """Recordings of the places that the checkpoint was trained in, on seeds it was not trained on."""
        folder = self.root / "known"
        self.once(
            folder, "record", "--scenes", ",".join(TRAINED_IN), "--episodes-per-task", 1, "--seed", 1000, "--direct", "--out",
            folder,
        )  # fmt: skip
        return [f"bag:{folder / 'episodes' / scene}" for scene in TRAINED_IN]

    def bank(self) -> Path:
        """With all of its places."""
        folder, cache = self.root / "bank", ("--cache", self.root / "frames")
        sources = [part for source in self.known() for part in ("--data", source)]
        self.once(folder, "bank", "create", folder, "--checkpoint", self.checkpoint, *sources, *cache)
        for name, scene in BANK.items():
            self.once(
                folder / "places" / name, "bank", "add", folder, name, "--adapter", self.adapted(scene, MANY),
                "--data", f"bag:{self.explored(scene, MANY)}", "--allow-rejected", "evidence", *cache,
            )  # fmt: skip
        return folder

    def start(self, scene: str, rollouts: int) -> Path:
        """What an adaptation from the mixture starts from."""
        out = self.root / "starts" / f"{_plain(scene)}_{rollouts}"
        bag, cache = self.explored(scene, rollouts), self.root / "frames"
        return _one_of(
            self.once(out, "bank", "start", self.root / "bank", "--data", f"bag:{bag}", "--out", out, "--cache", cache)
        )

    def new(self, scene: str, rollouts: int, mixed: bool) -> Path:
        """The adapter of an arm of NEW."""
        return self.adapted(scene, rollouts, self.start(scene, rollouts) if mixed else None)

    def routed(self, scene: str) -> list[dict[str, Any]]:
        """What the router says of each rollout of an exploration."""
        bag = self.explored(scene, MANY)
        out = self.once(
            self.root / "routed" / _plain(scene), "bank", "route", self.root / "bank", "--data", f"bag:{bag}", "--cache",
            self.root / "frames", "--json",
        )  # fmt: skip
        return json.loads(self.said(out).read_text("utf-8"))["episodes"]

    def played(self, scene: str, arm: str, overrides: Mapping[str, str]) -> tuple[list[Any], list[Any]]:
        """Episodes that ended and expert episodes that were measured, of an arm in a place."""
        out = self.root / "played" / _plain(scene) / _plain(arm)
        request = EvaluationRequest(
            scenes=(scene,), episodes=self.args.episodes, held_out_episodes=0, chains=0, expert_episodes=1,
            max_steps=self.args.max_steps, overrides=overrides,
        )  # fmt: skip
        if not (out / "report.html").exists():
            evaluate(self.checkpoint, request, out, processes=self.args.processes, command=command_line(), show=False)
        evaluation, _ = open_evaluation(self.checkpoint, request, out)
        return evaluation.ended, evaluation.measured

    def arms(self, scene: str) -> dict[str, dict[str, str]]:
        """What drives in each arm, as overrides of a deployment."""
        allowed = {"policy.allow_rejected_adapter": "true"}
        bank = {"policy.bank": str(self.root / "bank"), **allowed}
        arms: dict[str, dict[str, str]] = {BASE: {}}
        for arm, values in ROUTED.items():
            arms[arm] = {**bank, **{f"policy.routing.{name}": value for name, value in values.items()}}
        arms[REFINED] = {**arms["mixture of 3"], "policy.refinement.refine": "safe"}
        for arm, (rollouts, mixed) in NEW.items():
            arms[arm] = {"policy.adapter": str(self.new(scene, rollouts, mixed)), **allowed}
        return arms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="playtable")
    parser.add_argument("--held-out", default=";".join(HELD_OUT), help="scenes, with semicolons between them")
    parser.add_argument("--episodes", type=int, default=2, help="of each task in each place")
    parser.add_argument("--max-steps", type=int, default=180, help="of each episode")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path("out/places"))
    parser.add_argument("--results", type=Path, default=RESULTS / "places.json")
    args = parser.parse_args()
    os.environ.update(stack_environment(os.environ))
    os.environ["OMP_NUM_THREADS"] = "1"  # of every command
    bench, scenes = Bench(args), args.held_out.split(";")
    explored = [(scene, MANY) for scene in BANK.values()] + [(scene, count) for scene in scenes for count in (FEW, MANY)]
    at_once(args.processes, [lambda one=one: bench.explored(*one) for one in explored])
    at_once(args.processes, [lambda scene=scene: bench.adapted(scene, MANY) for scene in BANK.values()])
    bench.bank()
    news = [(scene, rollouts, mixed) for scene in scenes for rollouts, mixed in NEW.values()]
    at_once(args.processes, [lambda one=one: bench.new(*one) for one in news])
    places: dict[str, Any] = {}
    played: dict[str, dict[str, Any]] = {}
    for scene in scenes:
        played[scene] = {arm: bench.played(scene, arm, overrides) for arm, overrides in bench.arms(scene).items()}
        places[scene] = {"where": HELD_OUT.get(scene, ""), "routed": told_routing(bench, scene), **compared([played[scene]])}
        told = {arm: f"{100 * one['success']['after']:.0f} %" for arm, one in places[scene]["against base"].items()}
        print(scene, told, flush=True)
        write_result(
            args.results,
            {
                "episodes": args.episodes, "max_steps": args.max_steps, "few": FEW, "many": MANY,
                "bank": {name: told_adapter(bench, place) for name, place in BANK.items()},
                "all": compared(list(played.values())), "places": places,
            },
        )  # fmt: skip


def at_once(processes: int, jobs: Sequence[Callable[[], Any]]) -> None:
    """Do some things, so many at a time; the first error ends it."""
    with ThreadPoolExecutor(processes) as pool:
        for done in [pool.submit(job) for job in jobs]:
            done.result()


def told_adapter(bench: Bench, scene: str) -> dict[str, Any]:
    """What is kept of a place of the bank."""
    gate = read_manifest(bench.adapted(scene, MANY))["gate"]
    return {"scene": scene, "verdict": gate["verdict"], "loss": gate["reduction"], "drift": gate["drift"]}


def told_routing(bench: Bench, scene: str) -> dict[str, Any]:
    """Of the rollouts of an exploration: which place was nearest how often, how often none was, and how near."""
    episodes = bench.routed(scene)
    nearest = [episode["nearest"] for episode in episodes if not episode["abstains"]]
    return {
        "episodes": len(episodes),
        "abstained": sum(episode["abstains"] for episode in episodes),
        "nearest": {name: nearest.count(name) for name in sorted(set(nearest))},
        "best": sorted(episode["best"] for episode in episodes)[len(episodes) // 2],
    }


def compared(played: Sequence[Mapping[str, tuple[list[Any], list[Any]]]]) -> dict[str, Any]:
    """Of some places: each arm against the base and the nearest, success and the world model's square error one unit ahead."""
    report: dict[str, Any] = {}
    for reference in REFERENCES:
        table = report[f"against {reference}"] = {}
        for arm in played[0]:
            pairs = [pair for place in played for pair in pair_tasks(place[reference][0], place[arm][0])]
            errors = [pair for place in played for pair in pair_errors(place[reference][1], place[arm][1])]
            table[arm] = {
                "success": asdict(compare(*zip(*(pair[1:] for pair in pairs), strict=True), yes_or_no=True)),
                "error": asdict(compare(*zip(*errors, strict=True), yes_or_no=False)),
            }
    return report


def pair_errors(before: Sequence[Any], after: Sequence[Any]) -> list[tuple[float, float]]:
    """Mean square errors one unit ahead of the same expert episodes, over both views."""
    earlier = {trial.key: errors for trial, errors in before}
    return [(_error(earlier[trial.key]), _error(errors)) for trial, errors in after]


def _error(errors: Sequence[Any]) -> float:
    near = [one for one in errors if one.horizon == 1]
    return sum(one.painted for one in near) / sum(one.pictures for one in near)


def _one_of(root: Path) -> Path:
    return next(place for place in sorted(root.glob("*")) if (place / "manifest.json").is_file())


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "+-." else "_" for letter in name)


if __name__ == "__main__":
    main()
