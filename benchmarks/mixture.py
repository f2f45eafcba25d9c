"""What a mixture of adapters costs: time of a decision with one and with three adapters, of routing, memory, time to change it.

    python benchmarks/mixture.py --preset playtable --threads 1
    python benchmarks/mixture.py --preset calvin --threads 1 --decisions 20

Random weights, one network; the base, the same with one adapter and with three take turns decision by decision, so that other
load on the machine meets all of them. Every decision is prepared ahead, as a robot does it while it moves. Times are told by
the wall and by the processor, which counts no time in which something else ran. Writes benchmarks/results/mixture_PRESET.json.
"""

import argparse
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from decision import random_observations, summarise
from record import write_result

from worldagen.mixture.embedding import LEVELS, embed
from worldagen.mixture.prototypes import prototype_of
from worldagen.mixture.routing import RoutingConfig, route, whiten_places
from worldagen.mixture.stacked import Room, StackedMixture
from worldagen.mixture.whitening import fit_whitening
from worldagen.network.config import PRESETS
from worldagen.session import NetworkPolicy, make_policy

# What makes random adapters belongs to the tests.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "model"))
from mixed_factors import random_factors

RESULTS = Path(__file__).resolve().parent / "results"
INSTRUCTION = "push the blue block to the left"
COUNTS = (0, 1, 3)  # adapters in a mixture; 0 is the base
PLACES = 8  # that the router chooses among
PARTS = ("act", "prepare", "predict")
Times = list[tuple[float, float]]  # seconds by the wall, and of this process on any processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="playtable", choices=tuple(PRESETS))
    parser.add_argument("--rank", type=int, default=16, help="of every adapter (default: 16)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--decisions", type=int, default=100, help="of each, after a warm-up (default: 100)")
    parser.add_argument("--changes", type=int, default=20, help="of the mixture, of each kind (default: 20)")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/mixture_PRESET.json")
    args = parser.parse_args()
    began = os.getloadavg()
    first = make_policy(args.preset, threads=args.threads)
    base = first.adapters.digest
    factors = {
        f"place {seed}": random_factors(first.network, f"place {seed}", args.rank, seed, base=base, size=0.01)
        for seed in range(6)
    }
    policies = {count: first if count == 0 else NetworkPolicy(first.network, first.conventions) for count in COUNTS}
    for count, policy in policies.items():
        policy.reset(INSTRUCTION)
        if count:
            policy.make_mixture_room(Room(count, args.rank))
            policy.use_mixture(*_mixture(factors, count))
    seconds = time_decisions(policies, args.decisions)
    result = {
        "preset": args.preset, "rank": args.rank, "threads": args.threads, "decisions": args.decisions,
        "load_average_before": [round(load, 2) for load in began],
        "conclusive": began[0] < 1.0,  # else only the ratios tell something, for the others met all sides alike
        "milliseconds": {
            _name(count): {part: told(times) for part, times in parts.items()} for count, parts in seconds.items()
        },
        "against_the_base": {_name(count): compare(seconds[0], seconds[count]) for count in COUNTS[1:]},
        "memory": measure_memory(first, factors["place 0"].values, args.rank),
        "change_milliseconds": time_changes(policies[COUNTS[-1]], factors, args.changes),
        "routing_milliseconds": time_routing(first),
    }  # fmt: skip
    show(result)
    write_result(args.out or RESULTS / f"mixture_{args.preset}.json", result)


def time_decisions(policies: dict[int, NetworkPolicy], decisions: int) -> dict[int, dict[str, Times]]:
    """Times of every part of every decision, by how many adapters are mixed."""
    seconds: dict[int, dict[str, Times]] = {count: defaultdict(list) for count in policies}
    warm_up = policies[0].network.config.units + 2
    rows = policies[0].network.config.rows
    for number, observation in enumerate(random_observations(warm_up + decisions)):
        order = list(policies) if number % 2 else list(reversed(policies))  # nobody always comes after the same one
        for count in order:
            policy = policies[count]
            earlier = [observation] * (rows - 1) if policy.network.config.frames > 1 else []
            works: tuple[Callable[[], Any], ...] = (
                lambda policy=policy, earlier=earlier: policy.act(observation, earlier),  # noqa: B023
                policy.prepare,
                policy.predict_pixels,
            )
            for part, work in zip(PARTS, works, strict=True):
                took = _timed(work)
                if number >= warm_up:
                    seconds[count][part].append(took)
    return seconds


def told(times: Times) -> dict[str, dict[str, float]]:
    """Median and 99th percentile, ms."""
    return {
        clock: {key: 1e3 * value for key, value in summarise([each[place] for each in times]).items()}
        for place, clock in enumerate(("wall", "processor"))
    }


def compare(base: dict[str, Times], mixed: dict[str, Times]) -> dict[str, dict[str, dict[str, float]]]:
    """Of each part and clock: how much longer the median is, ms, and how many times as long."""
    gaps = {}
    for part in PARTS:
        before, after = told(base[part]), told(mixed[part])
        gaps[part] = {
            clock: {
                "extra_ms": after[clock]["p50"] - before[clock]["p50"],
                "ratio": after[clock]["p50"] / before[clock]["p50"],
            }
            for clock in before
        }
    return gaps


def measure_memory(policy: NetworkPolicy, values: int, rank: int) -> dict[str, float]:
    """MiB. values: numbers of one adapter."""
    per_place = [StackedMixture(policy.network, Room(count, rank)).bytes for count in COUNTS[1:]]
    backbone = sum(weight.numel() * weight.element_size() for weight in policy.network.backbone.parameters())
    return {
        "values_of_an_adapter": values,
        "factors_of_an_adapter_mib": _mib(4 * values),
        "buffers_per_adapter_mib": _mib((per_place[1] - per_place[0]) / (COUNTS[2] - COUNTS[1])),  # both halves
        "backbone_mib": _mib(backbone),
    }


def time_changes(policy: NetworkPolicy, factors: dict[str, Any], changes: int) -> dict[str, dict[str, dict[str, float]]]:
    """What it takes to change a mixture of three: only the weights, one adapter, all of them; and to go back to the base."""
    names, times = list(factors), defaultdict[str, Times](list)
    random = np.random.default_rng(0)
    for number in range(changes):
        kept = {name: factors[name] for name in names[:3]}
        policy.use_mixture(kept, _weights(kept, 0.3))
        shares = {name: tuple(random.uniform(0.1, 0.3, len(LEVELS))) for name in kept}
        times["weights only"].append(_timed(lambda kept=kept, shares=shares: policy.use_mixture(kept, shares)))
        third = {**dict(list(kept.items())[:2]), names[3 + number % 3]: factors[names[3 + number % 3]]}
        times["with one adapter that is new"].append(
            _timed(lambda third=third: policy.use_mixture(third, _weights(third, 0.3)))
        )
        others = {name: factors[name] for name in names[3:]}
        times["to three others"].append(_timed(lambda others=others: policy.use_mixture(others, _weights(others, 0.3))))
        times["back to the base"].append(_timed(policy.drop_mixture))
    return {kind: told(many) for kind, many in times.items()}


def time_routing(policy: NetworkPolicy) -> dict[str, Any]:
    """Of one decision while the router looks, all of it while a chunk plays: a frame's embedding, and routing by it.

    Among random places, with the widths of this encoder; the time depends on nothing else.
    """
    observations = random_observations(4 * PLACES)
    frames = [embed(policy.encode_all(observation))[0] for observation in observations]
    whitening = fit_whitening(frames, [number % PLACES for number in range(len(frames))])
    prototypes = [(f"place {number}", prototype_of(frames[number::PLACES])) for number in range(PLACES)]
    places = whiten_places(prototype_of(frames), prototypes, whitening, -1.0)
    config = RoutingConfig(route="mixture")
    works: dict[str, Callable[[Any, Any], Any]] = {
        "embedding of a frame": lambda observation, _: embed(policy.encode_all(observation)),
        "route": lambda _, frame: route(frame, places, config),
    }
    pairs = list(zip(observations, frames, strict=True)) * 5
    return {"places": PLACES} | {
        name: told([_timed(lambda work=work, pair=pair: work(*pair)) for pair in pairs]) for name, work in works.items()
    }


def show(result: dict[str, Any]) -> None:
    """Print the tables."""
    print(f"\n{result['preset']}, rank {result['rank']}, {result['threads']} threads, {result['decisions']} decisions")
    for clock in ("wall", "processor"):
        print(f" by the {clock}")
        for name, parts in result["milliseconds"].items():
            line = "   ".join(
                f"{part} p50 {times[clock]['p50']:8.2f} p99 {times[clock]['p99']:8.2f} ms" for part, times in parts.items()
            )
            print(f"  {name:<12} {line}")
        for name, parts in result["against_the_base"].items():
            line = "   ".join(
                f"{part} {gap[clock]['extra_ms']:+.2f} ms, x{gap[clock]['ratio']:.3f}" for part, gap in parts.items()
            )
            print(f"  {name:<12} {line}")
        for kind, times in result["change_milliseconds"].items():
            print(f"  change, {kind:<30} p50 {times[clock]['p50']:8.2f} p99 {times[clock]['p99']:8.2f} ms")
    print(f" memory: {', '.join(f'{name} {value:.1f}' for name, value in result['memory'].items())}")


def _mixture(factors: dict[str, Any], count: int) -> tuple[dict[str, Any], dict[str, tuple[float, ...]]]:
    chosen = dict(list(factors.items())[:count])
    return chosen, _weights(chosen, 0.9 / count)


def _weights(chosen: dict[str, Any], share: float) -> dict[str, tuple[float, ...]]:
    return dict.fromkeys(chosen, (share,) * len(LEVELS))


def _name(count: int) -> str:
    return f"{count} adapters" if count > 1 else "1 adapter" if count else "base"


def _timed(work: Callable[[], Any]) -> tuple[float, float]:
    began_s, processor_s = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began_s, time.process_time() - processor_s


def _mib(size: float) -> float:
    return round(size / 2**20, 3)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
