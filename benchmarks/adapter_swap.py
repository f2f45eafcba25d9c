"""What adapters cost a robot that is moving: swaps while it drives, and decisions beside an adaptation on the same machine.

    . scripts/activate && worldagen explore --direct --scene D --rollouts 16 --out out/swap_bag
    python benchmarks/adapter_swap.py --bag out/swap_bag
    python benchmarks/adapter_swap.py --bag out/swap_bag --bank out/bank    # swaps between a bank's mixture and the base, too

One stack in real time at 30 Hz, driven by the shipped network without a break, watched from outside. Two conditions are always
measured in turn, several times, for the machine may be busy with other things; their load is told with every round. Writes
benchmarks/results/adapter_swap.json.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import PoseStamped
from record import write_result

from worldagen.adaptation.process import AdaptationProcess
from worldagen.adaptation.recipe import load_adaptation_recipe
from worldagen.adaptation.request import AdaptationRequest
from worldagen.checkpoint import find_checkpoint
from worldagen_msgs.msg import ActionChunk
from worldagen_msgs.srv import LoadAdapter, Route
from worldagen_ros import topics
from worldagen_ros.client import StackClient
from worldagen_ros.config import load_deployment
from worldagen_ros.stack import Stack, stack_environment
from worldagen_ros.watching import EVERYTHING, timed

# What makes random adapters belongs to the tests.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "model"))
from adaptation_making import make_adapter

RESULT = Path(__file__).parent / "results" / "adapter_swap.json"
CHECKPOINT, TASK, SCENE, SEED, ENDLESS = "playtable", "open_drawer", "D", 1, 1_000_000
PERIOD_S, PAUSE_S = 1 / 30, 0.3
ALLOWED_RISE = 0.2  # of the 99th percentile, beside an adaptation


class Robot:
    """A stack that drives: when commands were sent, how long decisions took, and swaps."""

    def __init__(self, client: StackClient) -> None:
        self._client = client
        self._sent_ns: list[int] = []
        self.chunks: list[ActionChunk] = []  # decisions
        self._held = 0
        client.create_subscription(
            PoseStamped, topics.TARGET_POSE, timed(lambda _, at_ns: self._sent_ns.append(at_ns)), EVERYTHING
        )
        client.create_subscription(ActionChunk, topics.ACTION_CHUNK, self._hear, EVERYTHING)
        self._load: Any = client.create_client(LoadAdapter, topics.LOAD_ADAPTER)
        self._route: Any = client.create_client(Route, topics.ROUTE)

    def _hear(self, chunk: ActionChunk) -> None:
        if chunk.inference_time > 0.0:
            self.chunks.append(chunk)
        else:  # the policy's watchdog: a decision was late
            self._held += 1

    def begin(self) -> None:
        """Drive until the end."""
        self._client.wait_until_ready()
        self._client.wait(self._load.service_is_ready, f"the service {topics.LOAD_ADAPTER}")
        self._client.begin(self._client.reset_simulator(TASK, SCENE, SEED, ENDLESS))
        self._client.wait(lambda: len(self.chunks) > 50, "fifty chunks to warm up")

    def forget(self) -> None:
        """Start counting afresh."""
        self._sent_ns.clear()
        self.chunks.clear()
        self._held = 0

    def drive(self, seconds: float) -> None:
        """Let time pass."""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            rclpy.spin_once(self._client, timeout_sec=0.01)

    def swap(self, path: str) -> float:
        """An adapter, "" for the base; seconds from the call to its answer."""
        return self._call(self._load, LoadAdapter.Request(path=path))

    def route(self, mode: str) -> float:
        """The same of a bank's mixture, "off" for the base."""
        return self._call(self._route, Route.Request(mode=mode))

    def _call(self, service: Any, request: Any) -> float:
        began_s = time.perf_counter()
        answer = service.call_async(request)
        while not answer.done():
            rclpy.spin_once(self._client, timeout_sec=0.01)
        if not answer.result().success:
            raise SystemExit(answer.result().message)
        return time.perf_counter() - began_s

    def counted(self) -> dict[str, Any]:
        """Commands, and ticks without one, of what was driven since."""
        gaps_s = np.diff(np.sort(self._sent_ns)) * 1e-9
        steps = np.diff([int(chunk.sequence) for chunk in self.chunks])
        long_s = gaps_s[gaps_s > 1.5 * PERIOD_S]
        return {
            "commands": len(self._sent_ns),
            "gaps": len(long_s),
            "ticks_missed": int(np.sum(np.round(long_s / PERIOD_S) - 1)),
            "longest_gap_ms": round(1e3 * float(gaps_s.max(initial=0.0)), 1),
            "chunks": len(self.chunks),
            "chunks_lost": int(np.sum(steps[steps > 1] - 1)),
            "afresh": int(np.sum(steps < 1)),  # begun again after a gap in the pictures: too little processor time
            "held": self._held,  # by the watchdog, for want of a decision in time
            "load_average": round(os.getloadavg()[0], 2),
        }


def measure_swaps(
    robot: Robot, to: Mapping[str, Callable[[], float]], swaps: int, rounds: int, pause_s: float
) -> dict[str, Any]:
    """As many swaps as asked for, in rounds, each followed by an equally long time without. to: two, the base last."""
    told: dict[str, list[dict[str, Any]]] = {"swapping": [], "quiet": []}
    calls: dict[str, list[float]] = {name: [] for name in to}
    for _ in range(rounds):
        robot.forget()
        began_s = time.monotonic()
        for number in range(swaps // rounds):
            name = list(to)[number % 2]
            calls[name].append(to[name]())
            robot.drive(pause_s)
        spent_s = time.monotonic() - began_s
        told["swapping"].append({"seconds": round(spent_s, 1), **robot.counted()})
        to["base"]()
        robot.forget()
        robot.drive(spent_s)
        told["quiet"].append({"seconds": round(spent_s, 1), **robot.counted()})
        print(f"swapping {told['swapping'][-1]}\nquiet    {told['quiet'][-1]}", flush=True)
    totals = {
        kind: {key: sum(r[key] for r in rs) for key in ("commands", "ticks_missed", "chunks_lost", "afresh", "held")}
        for kind, rs in told.items()
    }
    return {
        "swaps": sum(len(times) for times in calls.values()),
        "call_ms": {name: {"median": _ms(median(times)), "max": _ms(max(times))} for name, times in calls.items()},
        "totals": totals,
        "rounds": told,
    }


def measure_beside(robot: Robot, bag: Path, rounds: int, seconds: float) -> dict[str, Any]:
    """Decision times alone and beside an adaptation, in turn; the adaptation is past its imports, and is ended afterwards."""
    told: dict[str, list[dict[str, Any]]] = {"alone": [], "beside": []}
    pooled: dict[str, list[float]] = {"alone": [], "beside": []}

    def record(kind: str, **more: Any) -> None:
        times = [chunk.inference_time for chunk in robot.chunks]
        pooled[kind] += times
        told[kind].append({**_percentiles(times), **robot.counted(), **more})
        print(f"{kind:6s} {told[kind][-1]}", flush=True)

    for _ in range(rounds):
        robot.drive(3.0)
        robot.forget()
        robot.drive(seconds)
        record("alone")
        with tempfile.TemporaryDirectory() as out:
            process = AdaptationProcess(AdaptationRequest(CHECKPOINT, str(bag), "default", out), "a benchmark")
            try:
                while process.progress is None and not process.done:
                    robot.drive(0.2)
                stages, until_s = [], time.monotonic() + seconds
                robot.forget()
                while time.monotonic() < until_s and not process.done:
                    robot.drive(0.5)
                    stages.append(process.progress.stage if process.progress else "")
                record("beside", stages={stage: 0.5 * stages.count(stage) for stage in dict.fromkeys(stages)})
                if process.done:
                    process.result()  # tells why, where it was refused
            finally:
                process.close()
    p50, p99 = (
        {kind: median(r[key] for r in rs) for kind, rs in told.items()} for key in ("p50_ms", "p99_ms")
    )  # fmt: skip
    rise = p99["beside"] / p99["alone"] - 1
    return {
        "median_of_rounds": {"p50_ms": p50, "p99_ms": p99},
        "pooled": {kind: _percentiles(times) for kind, times in pooled.items()},
        "p99_rise": round(rise, 3),
        "aim": f"the 99th percentile rises by less than {100 * ALLOWED_RISE:g} %",
        "met": bool(rise < ALLOWED_RISE),
        "rounds": told,
    }


def _percentiles(times: Sequence[float]) -> dict[str, Any]:
    return {
        "decisions": len(times), "p50_ms": _ms(float(np.percentile(times, 50))), "p99_ms": _ms(float(np.percentile(times, 99)))
    }  # fmt: skip


def _ms(seconds: float) -> float:
    return round(1e3 * seconds, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bag", type=Path, required=True, help="folder of an exploration's bag")
    parser.add_argument("--bank", type=Path, default=None, help="of places, for swaps of a mixture")
    parser.add_argument("--swaps", type=int, default=100, help="in all (default: 100)")
    parser.add_argument("--rounds", type=int, default=4, help="of every pair of conditions (default: 4)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of a round of decisions (default: 20)")
    parser.add_argument("--renderer", default="auto", help="auto, egl, osmesa or raycast")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    rank = load_adaptation_recipe("default").trained.rank
    overrides = {
        "policy.kind": "network", "policy.checkpoint": CHECKPOINT, "sim.renderer": args.renderer, "sim.ends_on_success": "false"
    }  # fmt: skip
    if args.bank:
        overrides |= {"policy.bank": str(args.bank.resolve()), "policy.allow_rejected_adapter": "true"}
    os.environ.update(stack_environment(os.environ))
    rclpy.init(args=[])
    began = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder, Stack(load_deployment("sim_realtime", overrides), lambda *_: None):
        adapter = make_adapter(find_checkpoint(CHECKPOINT), Path(folder), size=0.001, rank=rank)
        client = StackClient()
        robot = Robot(client)
        robot.begin()
        by_hand = {"adapter": lambda: robot.swap(str(adapter)), "base": lambda: robot.swap("")}
        swapping = measure_swaps(robot, by_hand, args.swaps, args.rounds, PAUSE_S)
        by_bank = {"mixture": lambda: robot.route("mixture"), "base": lambda: robot.route("off")}
        routing = measure_swaps(robot, by_bank, args.swaps, args.rounds, PAUSE_S) if args.bank else {}
        beside = measure_beside(robot, args.bag, args.rounds, args.seconds)
        client.destroy_node()
    rclpy.try_shutdown()
    busy = began[0] > 1.0
    for kind, told in (("swaps", swapping), ("mixture", routing)):
        if told:
            print(f"{kind}: {told['call_ms']}, {told['totals']}")
    print(f"beside: p99 {beside['p99_rise']:+.1%}, met: {beside['met']}")
    write_result(args.out, {
        "renderer": args.renderer, "adapter": f"LoRA of rank {rank}", "load_average_before": [round(load, 2) for load in began],
        "other_programs_ran_meanwhile": busy,
        "conclusive": not busy,  # else times tell of the others as much as of us; only the two conditions can be compared
        "swaps": swapping, "swaps_of_a_mixture": routing, "beside_an_adaptation": beside,
    })  # fmt: skip


if __name__ == "__main__":
    main()
