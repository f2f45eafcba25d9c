"""How long one decision takes: the plain published-style evaluation against our session, stage by stage.

    python benchmarks/decision.py --preset calvin --threads 2 --decisions 20

The plain evaluation (the tests' oracle) encodes everything again and runs the whole network twice per decision. Both sides have
the same weights, inputs and threads and take turns decision by decision, so that other load on the machine meets both. Outputs
are compared in the same run. A second round with a clock on every module gives the stages; their differences are the shares
of the optimisations. Prints tables and writes them, with machine, date and command, to
benchmarks/results/decision_<preset>_<device>_<type>.json.
"""

import argparse
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from record import write_result

from worldagen.capturing import capture_backbone
from worldagen.conventions import decode_actions
from worldagen.engines.probe import draw_probe
from worldagen.network.captured import CudaGraphs
from worldagen.session import NetworkPolicy, make_policy
from worldagen.types import Observation

# The oracle belongs to the tests; the benchmark times the very same code.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "model"))
from plain_evaluation import PlainEvaluation

RESULTS = Path(__file__).resolve().parent / "results"
INSTRUCTION = "push the blue block to the left"
STAGES = {
    "vision encoder": "vision",
    "resampler": "resampler",
    "text encoder": "text",
    "backbone": "backbone",
    "image head": "image_head",
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Clock:
    """Seconds per named part, one list entry per decision. Waits for the GPU, where there is one, before it reads the time."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.parts: dict[str, list[float]] = defaultdict(list)

    def now(self) -> float:
        """The time in seconds once all work given out is done."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def time(self, part: str, work: Any) -> Any:
        """Do some work and note how long it took."""
        begin = self.now()
        result = work()
        self.parts[part].append(self.now() - begin)
        return result


class Bench:
    """Both evaluations of one network, and more sessions: one prepares ahead, one does so with the backbone as transformers
    computes it, one cannot reuse keys and values, and on a GPU one prepares ahead with its backbone captured."""

    def __init__(self, args: argparse.Namespace) -> None:
        first = make_policy(args.preset, seed=0, threads=args.threads)
        network = first.network.to(args.device, DTYPES[args.dtype])
        conventions = first.conventions
        self.network, self.rows = network, network.config.rows
        self.session = NetworkPolicy(network, conventions)
        self.ahead = NetworkPolicy(network, conventions)
        self.recomputing = NetworkPolicy(network, conventions, "reference")
        self.transformers = NetworkPolicy(network, conventions)
        self.transformers.use_plain_backbone()
        self.plain = PlainEvaluation(network, conventions, "aligned", INSTRUCTION)
        self.captured = self._capture() if args.device == "cuda" else None
        for policy in (self.session, self.ahead, self.recomputing, self.transformers, *filter(None, [self.captured])):
            policy.reset(INSTRUCTION)

    def _capture(self) -> NetworkPolicy | None:
        policy = NetworkPolicy(self.network, self.session.conventions)
        return policy if capture_backbone(policy, draw_probe(), CudaGraphs(), print) else None

    def decide(self, observation: Observation, clock: Clock) -> tuple[float, float]:
        """One decision of everybody; the largest gaps of actions (in the network's numbers) and of pixels."""
        numbers = clock.time("plain: action pass", lambda: self.plain.act([observation]))
        expected = clock.time("plain: world pass", lambda: self.plain.imagine(numbers))
        chunk = clock.time("session: act", lambda: self.session.act(observation))
        pictures = clock.time("session: predict", self.session.predict_pixels)
        clock.time("prepared session: act", lambda: self.ahead.act(observation))
        clock.time("prepared session: prepare, while the robot moves", self.ahead.prepare)
        clock.time("the same with the backbone of transformers: act", lambda: self.transformers.act(observation))
        clock.time("the same with the backbone of transformers: prepare", self.transformers.prepare)
        if (captured := self.captured) is not None:
            clock.time("captured session: act", lambda: captured.act(observation))
            clock.time("captured session: prepare", captured.prepare)
        self.recomputing.act(observation)
        clock.time("session without key and value reuse: predict", self.recomputing.predict_pixels)
        actions = self.session.conventions.actions
        rows = decode_actions(actions, numbers, observation.state[3:6])
        gap = np.abs(chunk.rows - rows)[:, :6].max(axis=0) / np.repeat(
            [actions.translation_scale_m, actions.rotation_scale_rad], 3
        )
        return float(gap.max()), float(np.abs(pictures - expected).max())

    def decide_plainly(self, observation: Observation) -> None:
        """Actions and pictures of the plain evaluation."""
        self.plain.imagine(self.plain.act([observation]))

    def decide_in_session(self, observation: Observation) -> None:
        """Actions and pictures of the session."""
        self.session.act(observation)
        self.session.predict_pixels()


def random_observations(count: int) -> list[Observation]:
    """Pictures of noise in CALVIN's sizes, the same in every run."""
    rng = np.random.default_rng(0)
    return [
        Observation(
            stamp_ns=step,
            static_image=rng.integers(0, 256, (200, 200, 3), dtype=np.uint8),
            wrist_image=rng.integers(0, 256, (84, 84, 3), dtype=np.uint8),
            state=np.array([*rng.normal(0, 0.3, 6), 1.0]),
        )
        for step in range(count)
    ]


def time_stages(bench: Bench, observations: list[Observation], device: str) -> dict[str, dict[str, float]]:
    """Median seconds per decision of every stage: {"plain": {...}, "session": {...}}, the session with its world pass."""
    clock, seconds = Clock(device), defaultdict(list)
    spent: dict[str, float] = defaultdict(float)
    for stage, name in STAGES.items():
        watch(getattr(bench.network, name), stage, spent, clock)
    attend = bench.session._attender.attend  # the session's own way through the backbone

    def timed(*tokens: Any) -> Any:
        inside, begin = spent["backbone"], clock.now()
        hidden = attend(*tokens)
        spent["backbone"] = inside + clock.now() - begin  # in the place of what the module's hooks added in between
        return hidden

    bench.session._attender.attend = timed  # type: ignore[method-assign]
    for observation in observations:
        for side, work in (("plain", bench.decide_plainly), ("session", bench.decide_in_session)):
            spent.clear()
            begin = clock.now()
            work(observation)
            spent["everything else"] = clock.now() - begin - sum(spent.values())
            seconds[side].append(dict(spent))
    stages = [*STAGES, "everything else"]
    return {side: {stage: median(one.get(stage, 0.0) for one in many) for stage in stages} for side, many in seconds.items()}


def watch(module: torch.nn.Module, stage: str, spent: dict[str, float], clock: Clock) -> None:
    """Add the seconds of every call of a module to its stage, from now on."""
    begins: list[float] = []

    def begin(*_: Any) -> None:
        begins.append(clock.now())

    def end(*_: Any) -> None:
        spent[stage] += clock.now() - begins.pop()

    module.register_forward_pre_hook(begin)
    module.register_forward_hook(end)


def share_out(stages: dict[str, dict[str, float]], reuse_s: float) -> dict[str, float]:
    """Seconds saved per decision by each optimisation. reuse_s: what keys and values of the action pass save the world pass."""
    saved = {stage: stages["plain"][stage] - stages["session"][stage] for stage in stages["plain"]}
    return {
        "a frame is encoded once": saved["vision encoder"] + saved["resampler"],
        "an instruction is encoded once": saved["text encoder"],
        "the world pass reuses keys and values": reuse_s,
        "tokens that nobody reads are left out": saved["backbone"] - reuse_s,
        "only the asked-for unit is painted": saved["image head"],
        "everything else": saved["everything else"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="calvin", choices=("calvin", "libero", "playtable"))
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--dtype", default="float32", choices=tuple(DTYPES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--decisions", type=int, default=20, help="decisions per round, after a warm-up")
    args = parser.parse_args()

    bench = Bench(args)
    warm_up = bench.network.config.units + 2
    observations = random_observations(warm_up + 2 * args.decisions)
    for observation in observations[:warm_up]:
        bench.decide(observation, Clock(args.device))
    clock = Clock(args.device)
    gaps = [bench.decide(observation, clock) for observation in observations[warm_up : warm_up + args.decisions]]
    stages = time_stages(bench, observations[warm_up + args.decisions :], args.device)

    parts = clock.parts
    plain = [action + world for action, world in zip(parts["plain: action pass"], parts["plain: world pass"], strict=True)]
    both = [act + predict for act, predict in zip(parts["session: act"], parts["session: predict"], strict=True)]
    reuse_s = median(parts["session without key and value reuse: predict"]) - median(parts["session: predict"])
    result = {
        "preset": args.preset,
        "device": args.device if args.device == "cpu" else torch.cuda.get_device_name(),
        "dtype": args.dtype,
        "threads": args.threads,
        "decisions": args.decisions,
        "times_faster": {
            "actions only": _ratio(plain, parts["session: act"]),
            "actions only, prepared ahead": _ratio(plain, parts["prepared session: act"]),
            "with a world prediction": _ratio(plain, both),
            "prepared ahead, than with the backbone of transformers": _ratio(
                parts["the same with the backbone of transformers: act"], parts["prepared session: act"]
            ),
            **(
                {"captured, than prepared ahead": _ratio(parts["prepared session: act"], parts["captured session: act"])}
                if bench.captured is not None
                else {}
            ),
        },
        "largest_gap": {"actions": max(gap for gap, _ in gaps), "pixels": max(gap for _, gap in gaps)},
        "seconds": {part: summarise(many) for part, many in {"plain": plain, **parts}.items()},
        "stage_seconds": stages,
        "saved_seconds": share_out(stages, reuse_s),
    }
    show(result)
    write_result(RESULTS / f"decision_{args.preset}_{args.device}_{args.dtype}.json", result)


def summarise(seconds: list[float]) -> dict[str, float]:
    """Median and 99th percentile."""
    return {"p50": median(seconds), "p99": float(np.percentile(seconds, 99))}


def _ratio(slow: list[float], fast: list[float]) -> float:
    return median(slow) / median(fast)


def show(result: dict[str, Any]) -> None:
    """Print the tables."""
    what = ", ".join(str(result[name]) for name in ("preset", "dtype", "device"))
    print(f"\n{what}, {result['threads']} threads, {result['decisions']} decisions")
    for part, times in result["seconds"].items():
        print(f"  {part:<52} p50 {times['p50'] * 1e3:9.1f} ms   p99 {times['p99'] * 1e3:9.1f} ms")
    for name, ratio in result["times_faster"].items():
        print(f"  {name + ':':<52} {ratio:5.2f} times faster")
    print(f"  largest gap: actions {result['largest_gap']['actions']:.1e}, pixels {result['largest_gap']['pixels']:.1e}")
    print("\n  stage                 plain ms  session ms, world prediction included")
    for stage, seconds in result["stage_seconds"]["plain"].items():
        print(f"  {stage:<20} {seconds * 1e3:9.1f} {result['stage_seconds']['session'][stage] * 1e3:9.1f}")
    total = sum(result["saved_seconds"].values())
    print("\n  optimisation                              saves ms   share")
    for name, seconds in result["saved_seconds"].items():
        print(f"  {name:<40} {seconds * 1e3:9.1f} {seconds / total:7.1%}")


if __name__ == "__main__":
    main()
