"""From the camera to the command through ROS: how long beyond the network's own time, and what the pictures cost.

    . scripts/activate && python benchmarks/ros_path.py
    python benchmarks/ros_path.py --against ../before --rounds 3     # the nodes of another checkout besides, in turns

Three processes: a robot with two cameras (640x480 rgb8, 30 Hz) and joint states, the policy node, the command node. In the
policy node a decider stands in for the network: it makes the pictures the network's numbers, as the network does, thinks for as
long as it is told (nothing, by default) and lets the arm stand. Its thinking is subtracted. Processor time of pictures is that
of the threads that take, decode, watch and scale them. In turns: another checkout, ours, and ours with policy.resize=torch.
Writes benchmarks/results/ros_path.json.
"""

import argparse
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "ros_path.json"
SIZES, SIDE = (480, 640), 224  # of a picture, of the network's
PERIOD_S = 1 / 30
WARM_UP_S = 3.0
PARAMETERS = {
    "policy": ("timing.mode:=realtime", "policy.kind:=network"),
    # A loaded machine is no fault.
    "command": ("timing.mode:=realtime", *(f"command.max_{what}_s:=1.0" for what in ("tick_gap", "state_age", "chunk_age"))),
}
AIMS = {"overhead_p50_ms": 15.0, "pictures_percent_of_a_core": 25.0}


# ---------------------------------------------------------------- the robot


def run_robot() -> None:
    """Pictures that differ, with the joints of their instant before them. They are made beforehand: a camera costs nothing."""
    import rclpy
    from rclpy.node import Node
    from sensor_msgs.msg import Image, JointState

    from worldagen_ros import messages, qos, topics
    from worldagen_ros.images import encode_image
    from worldagen_ros.runtime import SingleThreadedExecutor

    class Robot(Node):
        def __init__(self) -> None:
            super().__init__("robot")
            draw = np.random.default_rng(0)
            self.images = [encode_image(draw.integers(0, 256, (*SIZES, 3), np.uint8), Image()) for _ in range(8)]
            self.cameras = {
                name: self.create_publisher(Image, topic, qos.images_out(PERIOD_S))
                for name, topic in topics.CAMERA_TOPICS.items()
            }
            self.joints = self.create_publisher(JointState, topics.JOINT_STATES, qos.states_out())
            self.shown = 0
            self.create_timer(PERIOD_S, self.show)

        def show(self) -> None:
            stamp_ns = time.time_ns()
            names = tuple(f"panda_joint{number}" for number in range(1, 8))
            home = np.array([0.0, -0.4, 0.0, -2.3, 0.0, 1.9, 0.8])
            self.joints.publish(messages.encode_joints(names, home, np.zeros(7), stamp_ns))
            for name, publisher in self.cameras.items():
                image = self.images[self.shown % len(self.images)]
                image.header = messages.header(stamp_ns, f"{name}_optical_frame")
                publisher.publish(image)
                self.shown += 1

    rclpy.init(args=[])
    executor = SingleThreadedExecutor()
    executor.add_node(Robot())
    spin(executor)


# ---------------------------------------------------------------- the policy node


class Standing:
    """In the place of the network: numbers of both pictures, some thinking, rows that move nothing."""

    name, source = "standing", ""
    streams: tuple[str, ...] = ("static_camera", "wrist_camera", "joint_states")

    def __init__(self, think_s: float, resize: str, spent: dict[str, float]) -> None:
        from worldagen import preprocess
        from worldagen.policy_conventions import PRESET_CONVENTIONS

        self.think_s, self.decisions, self.spent = think_s, 0, spent
        self.scaling = PRESET_CONVENTIONS["calvin"].image
        self.by_torch: Any = None
        if resize == "torch":
            import torch

            from worldagen.scaling import make_scaler

            torch.set_num_threads(1)
            self.by_torch = make_scaler("torch", torch.device("cpu"))
        self.scaler = preprocess.ViewScaler() if hasattr(preprocess, "ViewScaler") else None
        name = "scale_images" if self.scaler else "scale_image"
        scale, lock = getattr(preprocess, name), threading.Lock()

        def metered(*arguments: Any) -> np.ndarray:
            began_s = time.thread_time()
            scaled = scale(*arguments)
            with lock:  # two threads scale
                spent["scale"] += time.thread_time() - began_s
            return scaled

        setattr(preprocess, name, metered)

    def reset(self, instruction: str, disturbance: Any = None) -> None:
        self.decisions = 0

    def decide(self, samples: Any) -> Any:
        from worldagen import preprocess
        from worldagen.types import ActionChunk

        static, wrist = ([samples.values[name]] for name in ("static_camera", "wrist_camera"))
        if self.by_torch is not None:
            began_s = time.thread_time()
            self.by_torch.scale(self.scaling, (static, SIDE), (wrist, SIDE))
            self.spent["scale"] += time.thread_time() - began_s
        elif self.scaler is not None:
            self.scaler.scale(self.scaling, (static, SIDE), (wrist, SIDE))
        else:  # a checkout from before
            for pictures in (static, wrist):
                np.asarray([preprocess.scale_image(self.scaling, picture, SIDE) for picture in pictures], dtype=np.float32)
        thought_s = time.perf_counter()
        if self.think_s:
            time.sleep(self.think_s)
        thought_s = time.perf_counter() - thought_s
        rows = np.zeros((5, 7))
        self.decisions += 1
        return ActionChunk(samples.stamp_ns, self.decisions - 1, PERIOD_S, "calvin", rows, inference_s=thought_s)

    def prepare(self) -> None:
        pass

    def predict(self) -> None:
        pass


def run_policy(think_s: float, resize: str) -> None:
    """The node as it is, with its decider replaced, and a meter on what image messages cost its threads."""
    import rclpy
    from rclpy.executors import Executor, SingleThreadedExecutor
    from sensor_msgs.msg import Image

    from worldagen_ros import policy_node

    spent = {"take": 0.0, "callback": 0.0, "scale": 0.0, "pictures": 0.0}
    policy_node.DECIDERS["network"] = lambda *_: Standing(think_s, resize, spent)
    take = Executor._take_subscription

    def metered_take(self: Any, subscription: Any) -> Any:
        if subscription.msg_type is not Image:
            return take(self, subscription)
        began_s = time.thread_time()
        taken = take(self, subscription)
        spent["take"] += time.thread_time() - began_s
        if taken is None:
            return None

        async def run() -> None:
            began_s = time.thread_time()
            await taken()
            spent["callback"] += time.thread_time() - began_s
            spent["pictures"] += 1

        return run

    Executor._take_subscription = metered_take  # type: ignore[method-assign]
    rclpy.init()
    executor = SingleThreadedExecutor()
    node = policy_node.PolicyNode()
    executor.add_node(node)
    node.bring_up()

    def tell() -> None:
        words = " ".join(f"{name}={value:.6f}" for name, value in spent.items())
        print(f"spent {time.monotonic():.6f} {words}", flush=True)

    node.create_timer(1.0, tell)
    spin(executor)


def spin(executor: Any) -> None:
    """Until SIGTERM or SIGINT."""
    import rclpy
    from rclpy.executors import ExternalShutdownException

    try:
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        rclpy.try_shutdown()


# ---------------------------------------------------------------- the measurement


@contextmanager
def started(
    checkout: Path | None, resize: str, think_s: float, replan_rows: int, log: Path
) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """The three processes; of another checkout's code where one is given."""
    environment = dict(os.environ)
    if checkout is not None:
        folders = [checkout / "model", checkout / "sim_bridges", checkout / "ros2_ws/src/worldagen_ros"]
        environment["PYTHONPATH"] = os.pathsep.join([*map(str, folders), environment.get("PYTHONPATH", "")])
    told = {
        name: ["--ros-args", *(part for one in (*own, "autostart:=true") for part in ("-p", one))]
        for name, own in {**PARAMETERS, "policy": (*PARAMETERS["policy"], f"policy.replan_rows:={replan_rows}")}.items()
    }
    this = [sys.executable, str(HERE / "ros_path.py")]
    commands = {
        "command": [sys.executable, "-c", "from worldagen_ros.command_node import main; main()", *told["command"]],
        "policy": [*this, "--role", "policy", "--think-ms", str(think_s * 1e3), "--resize", resize, *told["policy"]],
        "robot": [*this, "--role", "robot"],
    }
    processes: dict[str, subprocess.Popen[str]] = {}
    with log.open("w") as said:
        try:
            for name, command in commands.items():
                processes[name] = subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.STDOUT, text=True)
            yield processes
        finally:
            for process in processes.values():
                process.terminate()
            for process in processes.values():
                process.wait(20)


def measure(checkout: Path | None, resize: str, think_s: float, replan_rows: int, seconds: float, log: Path) -> dict[str, Any]:
    """One round of one checkout's nodes."""
    import rclpy
    from rclpy.node import Node
    from std_msgs.msg import String

    from worldagen.latency import as_json
    from worldagen_ros import qos, topics
    from worldagen_ros.latency_live import LatencyListener
    from worldagen_ros.watching import Watcher

    node = Node("watcher")
    watcher, listener = Watcher(node, live=True), LatencyListener()
    words = node.create_publisher(String, topics.INSTRUCTION, qos.LATCHED)
    executor = rclpy.executors.SingleThreadedExecutor()
    for one in (node, listener):
        executor.add_node(one)

    def wait(done: Any, what: str, patience_s: float = 60.0) -> None:
        until_s = time.monotonic() + patience_s
        while not done():
            if time.monotonic() > until_s:
                raise SystemExit(f"waited {patience_s:g} s for {what}:\n{log.read_text()[-3000:]}")
            executor.spin_once(timeout_sec=0.05)

    with started(checkout, resize, think_s, replan_rows, log) as processes:
        words.publish(String(data="stand still"))
        wait(lambda: len(watcher.latencies().to_command_s) > 3, "the first commands")
        warm_s = time.monotonic() + WARM_UP_S
        wait(lambda: time.monotonic() > warm_s, "the processes to warm up")
        watcher.forget()
        listener.window = type(listener.window)(10_000)
        pids = {name: psutil.Process(process.pid) for name, process in processes.items()}
        before, began_s = {name: cpu_s(process) for name, process in pids.items()}, time.monotonic()
        wait(lambda: time.monotonic() > began_s + seconds, "the end", seconds + 60)
        took_s = time.monotonic() - began_s
        used = {name: cpu_s(process) - before[name] for name, process in pids.items()}
    told, thought_s = watcher.latencies(), [msg.inference_time for msg in watcher.chunks]
    for one in (node, listener):
        executor.remove_node(one)
        one.destroy_node()
    executor.shutdown()
    spent = [line.split()[1:] for line in log.read_text().splitlines() if line.startswith("spent ")]
    first, last = (next(line for line in lines if float(line[0]) >= began_s) for lines in (spent, spent[::-1]))
    lasted_s = float(last[0]) - float(first[0])
    parts = {}
    for begin, end in zip(first[1:], last[1:], strict=True):
        name, value = end.split("=")
        parts[name] = float(value) - float(begin.split("=")[1])
    pictures = parts.pop("pictures")
    return {
        "decisions": len(watcher.chunks),
        "decisions_per_s": len(watcher.chunks) / took_s,
        "to_chunk_s": told.to_chunk_s,
        "to_command_s": told.to_command_s,
        "thought_s": median(thought_s),
        "cpu_percent_of_a_core": {name: 100 * value / took_s for name, value in used.items()},
        "pictures_per_s": pictures / lasted_s,
        "pictures_percent_of_a_core": {name: 100 * value / lasted_s for name, value in parts.items()},
        "stages": as_json(listener.window.report()) if listener.window.count else None,
    }


def cpu_s(process: psutil.Process) -> float:
    """Processor time a process has used, user and system."""
    times = process.cpu_times()
    return times.user + times.system


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Of one checkout: percentiles over all rounds, medians of shares."""
    thought_s = median(one["thought_s"] for one in rounds)
    told: dict[str, Any] = {"decisions": sum(one["decisions"] for one in rounds)}
    told["decisions_per_s"] = round(median(one["decisions_per_s"] for one in rounds), 1)
    for name, key in (("chunk", "to_chunk_s"), ("overhead", "to_command_s")):
        values = np.concatenate([one[key] for one in rounds]) - thought_s
        told |= {f"{name}_p{percent}_ms": round(1e3 * float(np.percentile(values, percent)), 2) for percent in (50, 90, 99)}
    told["overhead_p50_ms_of_each_round"] = [round(1e3 * (median(one["to_command_s"]) - thought_s), 2) for one in rounds]
    for key in ("cpu_percent_of_a_core", "pictures_percent_of_a_core"):
        told[key] = {name: round(median(one[key][name] for one in rounds), 1) for name in rounds[0][key]}
    told["pictures_percent_of_a_core"]["sum"] = round(
        median(sum(one["pictures_percent_of_a_core"].values()) for one in rounds), 1
    )
    told["pictures_per_s"] = round(median(one["pictures_per_s"] for one in rounds), 1)
    if rounds[-1]["stages"]:
        told["stages_of_the_last_round"] = rounds[-1]["stages"]
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each round, after the processes are warm (default: 15)")
    parser.add_argument("--rounds", type=int, default=2, help="of each checkout, in turns (default: 2)")
    parser.add_argument("--against", type=Path, help="a checkout of this project whose nodes are measured in turns with ours")
    parser.add_argument("--think-ms", type=float, default=0.0, help="so long the network sleeps (default: 0)")
    parser.add_argument(
        "--replan-rows", type=int, default=0, help="as policy.replan_rows; 1: every picture is decided on (default: 0)"
    )
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--resize", default="pillow", help=argparse.SUPPRESS)
    parser.add_argument("--role", choices=("robot", "policy"), help=argparse.SUPPRESS)
    args, _ = parser.parse_known_args()
    if args.role:
        run_robot() if args.role == "robot" else run_policy(args.think_ms * 1e-3, args.resize)
        return
    import rclpy
    from record import write_result

    from worldagen_ros.stack import stack_environment

    os.environ.update(stack_environment(os.environ, random.randrange(60, 100)))
    rclpy.init(args=[])
    log = HERE / "results" / f"ros_path.{os.getpid()}.log"
    places = {"before": args.against.resolve()} if args.against else {}
    rounds: dict[str, list[dict[str, Any]]] = {}
    for _ in range(args.rounds):
        for name, checkout in [*places.items(), ("now", None), ("torch", None)]:
            resize = "torch" if name == "torch" else "pillow"
            one_round = measure(checkout, resize, args.think_ms * 1e-3, args.replan_rows, args.seconds, log)
            rounds.setdefault(name, []).append(one_round)
            one = summary(rounds[name][-1:])
            print(f"{name:<7} {one['overhead_p50_ms']:7.2f} ms p50 {one['pictures_percent_of_a_core']}", flush=True)
    log.unlink()
    rclpy.try_shutdown()
    told = {name: summary(several) for name, several in rounds.items()}
    settings = {
        "rounds": args.rounds,
        "seconds": args.seconds,
        "think_ms": args.think_ms,
        "replan_rows": args.replan_rows,
        "aims": AIMS,
    }
    write_result(args.out, {**settings, **told})


if __name__ == "__main__":
    main()
