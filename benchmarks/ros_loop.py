"""The loop through ROS, measured from outside: decisions per second in lockstep, latency and CPU share in real time.

    . scripts/activate && python benchmarks/ros_loop.py

Starts one stack after another (never two at once), drives it as a user would, and writes benchmarks/results/ros_loop.json.
"""

import argparse
import os
import time
from pathlib import Path
from typing import Any

import psutil
import rclpy
from record import write_result

from worldagen_msgs.msg import TaskState
from worldagen_ros.client import StackClient
from worldagen_ros.config import DeploymentConfig, load_deployment
from worldagen_ros.specs import nodes_of
from worldagen_ros.stack import Stack, stack_environment
from worldagen_ros.watching import Watcher

RESULT = Path(__file__).parent / "results" / "ros_loop.json"
POLICIES = ("expert", "network")
TASK, SCENE, SEED = "open_drawer", "A", 1
ENDLESS = 1_000_000


def measure(config: DeploymentConfig, seconds: float) -> dict[str, Any]:
    """One stack, followed for a while after it has warmed up. An episode that ends is begun again."""
    with Stack(config, lambda *_: None) as stack:
        client = StackClient()
        watcher = Watcher(client, live=config.timing.mode == "realtime")
        client.wait_until_ready()
        processes = {spec.name: psutil.Process(stack.pid(spec.name)) for spec in nodes_of(config)}
        episodes, steps, decisions, wall_s = 0, 0, 0, 0.0
        used_s = dict.fromkeys(processes, 0.0)
        latencies = ([], [])
        client.run_episode(TASK, SCENE, SEED, max_steps=60)  # warms up caches and allocators
        while wall_s < seconds:
            watcher.forget()
            execution = client.begin(client.reset_simulator(TASK, SCENE, SEED + episodes, ENDLESS))
            client.wait(lambda: len(watcher.chunks) > 0, "the first chunk")
            began_s, before = time.monotonic(), {name: cpu_s(process) for name, process in processes.items()}
            client.wait(
                lambda: client.task_state.status != TaskState.RUNNING or time.monotonic() - began_s > seconds - wall_s,  # noqa: B023
                "the end of the episode",
                seconds + 60,
            )
            wall_s += time.monotonic() - began_s
            for name, process in processes.items():
                used_s[name] += cpu_s(process) - before[name]
            decisions += len(watcher.chunks) - 1
            steps += client.task_state.steps
            measured = watcher.latencies()
            latencies[0].extend(measured.to_chunk_s)
            latencies[1].extend(measured.to_command_s)
            episodes += 1
            execution.cancel()
        client.destroy_node()
    both = type(measured)(tuple(latencies[0]), tuple(latencies[1]))
    return {
        "seconds": round(wall_s, 2),
        "episodes": episodes,
        "decisions": decisions,
        "decisions_per_s": round(decisions / wall_s, 2),
        "control_steps_per_s": round(steps / wall_s, 1),
        **{key: round(value, 2) for key, value in both.percentiles_ms().items()},
        "cpu_percent_of_a_core": {name: round(100 * used / wall_s, 1) for name, used in used_s.items()},
    }


def cpu_s(process: psutil.Process) -> float:
    """Processor time a process has used, user and system."""
    times = process.cpu_times()
    return times.user + times.system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="to measure each stack for (default: 20)")
    parser.add_argument("--renderer", default="auto", help="auto, egl, osmesa or raycast")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    os.environ.update(stack_environment(os.environ))
    rclpy.init(args=[])
    results: dict[str, Any] = {}
    for mode in ("lockstep", "realtime"):
        for policy in POLICIES:
            overrides = {"timing.mode": mode, "policy.kind": policy, "sim.renderer": args.renderer}
            base = "sim_realtime" if mode == "realtime" else "sim"
            results[f"{mode}_{policy}"] = measure(load_deployment(base, overrides), args.seconds)
            print(f"{mode} {policy}: {results[f'{mode}_{policy}']}", flush=True)
    rclpy.try_shutdown()
    write_result(args.out, {"renderer": args.renderer, **results})


if __name__ == "__main__":
    main()
