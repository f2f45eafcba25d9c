"""Check what costs days: ROS and its middleware, Python packages, the GPU, the machine, a deployment, a running stack.

One line a check: OK, WARN, FAIL, or SKIP where it does not apply; WARN and FAIL say what to do. Exit code 1 if anything fails.
What each line means: docs/doctor.md.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worldagen.doctor.findings import Finding, Group
    from worldagen.doctor.machine import BagRate
    from worldagen.doctor.ros_environment import Ros
    from worldagen.doctor.trials import Trial

HELP = "check ROS, packages, GPU, machine, deployment and a running stack"
LISTEN_S, LONGEST_S = 3.0, 600.0
ASSUMED_HZ, ASSUMED_FLOOR_MIB = 30.0, 2048  # where no deployment can be read


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which deployment, and whether it runs."""
    parser.add_argument("--deployment", default="sim", help="a shipped deployment's name or a YAML file (default: sim)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one value of it")
    parser.add_argument(
        "--live",
        type=float,
        nargs="?",
        const=LISTEN_S,
        default=0.0,
        metavar="S",
        help=f"also listen to the running stack, for S seconds (default: {LISTEN_S:g}); ROS_DOMAIN_ID says where",
    )
    parser.add_argument("--namespace", default="", help="namespace of the running stack")
    parser.add_argument("--bags", type=Path, metavar="DIR", help="measure the disk of this folder (default: recorder.folder)")
    parser.add_argument("--json", action="store_true", help="for programs instead of people")


def run(args: argparse.Namespace) -> int:
    """Look, print, and return 1 if anything fails."""
    import shutil
    import sys

    from worldagen.doctor.findings import as_json, as_text, exit_code
    from worldagen.errors import ConfigError

    if not 0.0 <= args.live <= LONGEST_S:
        raise ConfigError(f"--live {args.live:g}: expected seconds from 0 (do not listen) to {LONGEST_S:g}")
    groups = look(args)
    if args.json:
        print(as_json(groups))
    else:
        terminal = sys.stdout.isatty()
        print(as_text(groups, shutil.get_terminal_size().columns if terminal else 0, colour=terminal))
    return exit_code(groups)


def look(args: argparse.Namespace) -> "list[Group]":
    """Every group of checks, in the order in which they are printed."""
    from contextlib import ExitStack
    from importlib.util import find_spec

    from worldagen.doctor import trials
    from worldagen.doctor.findings import Group
    from worldagen.doctor.ros_environment import look_at_ros

    ros = look_at_ros()
    with ExitStack() as stack:
        # What takes long runs beside everything else.
        running: dict[str, Trial] = {}
        if ros.distribution:
            running["ros"] = stack.enter_context(trials.begin("ros"))
        for name in ("torch", "tensorrt"):
            if find_spec(name):
                running[name] = stack.enter_context(trials.begin(name))
        deployment, rate, floor_mib, folder, renderer, live = _deployment(args, running.get("ros"))
        if find_spec("worldagen_sim") and find_spec("mujoco") and renderer:
            running["drawing"] = stack.enter_context(trials.Trial("worldagen_sim.doctor_rendering", renderer))
        machine = Group("Machine", tuple(_machine(args.bags or folder, rate, floor_mib)))
        middle = [Group("ROS", tuple(_ros(ros))), Group("Python", tuple(_python(ros, running)))]
        accelerator = Group("GPU", tuple(_accelerator(running, renderer)))
    return [*middle, accelerator, machine, deployment, *live]


def _ros(ros: "Ros") -> "list[Finding]":
    from worldagen.doctor import network
    from worldagen.doctor import ros_environment as checks
    from worldagen.doctor.findings import attempt

    interfaces = network.look_at_interfaces()
    chosen = network.choose_interface(ros, interfaces)
    others = [name for name in interfaces if name != network.LOOPBACK]
    fault = network.try_multicast(interfaces[chosen]) if chosen else ""
    return [
        *attempt("ROS", lambda: checks.check_distribution(ros, checks.wheel_version(), checks.installed_distributions())),
        *attempt("workspace", lambda: checks.check_workspace(ros, checks.importable_packages())),
        *attempt("middleware", lambda: checks.check_rmw(ros, checks.installed_rmws(ros.prefixes))),
        *attempt("domain", lambda: checks.check_domain(ros, others)),
        *attempt("discovery", lambda: checks.check_discovery(ros)),
        *attempt("multicast", lambda: network.check_multicast(ros, chosen, fault)),
        *attempt("transport profile", lambda: checks.check_profile(ros)),
        *attempt("shared memory", lambda: checks.check_shared_memory(checks.look_at_shared_memory())),
        *attempt("socket buffer", lambda: checks.check_socket_buffer(ros, _rmem_max())),
    ]


def _rmem_max() -> int | None:
    try:
        return int(Path("/proc/sys/net/core/rmem_max").read_text("ascii"))
    except (OSError, ValueError):
        return None


def _python(ros: "Ros", running: "Mapping[str, Trial]") -> "list[Finding]":
    from worldagen.doctor import python_packages as checks
    from worldagen.doctor.findings import attempt

    answer, fault = _answer(running.get("ros"))
    return [
        *attempt("Python", checks.check_python),
        *attempt("numpy", lambda: checks.check_numpy(_version("numpy"), ros)),
        *attempt("messages", lambda: checks.check_messages(ros, answer, fault)),
    ]


def _accelerator(running: "Mapping[str, Trial]", renderer: str) -> "list[Finding]":
    import os

    from worldagen.doctor import accelerator as checks
    from worldagen.doctor.findings import attempt, skip

    gpu, cores = checks.look_at_gpu(), len(os.sched_getaffinity(0))
    drawing = (
        attempt("simulator's OpenGL", lambda: checks.check_drawing("drawing" in running, *_answer(running.get("drawing")), gpu))
        if renderer
        else [skip("simulator's OpenGL", "robot.source is hardware: nothing is simulated")]
    )
    tensorrt = "found" if "tensorrt" in running else ""
    return [
        *attempt("GPU", lambda: checks.check_gpu(gpu)),
        *drawing,
        *attempt("TensorRT", lambda: checks.check_tensorrt(tensorrt, *_answer(running.get("tensorrt")), gpu)),
        *attempt("ONNX Runtime", lambda: checks.check_onnxruntime(_version("onnxruntime"), checks.look_at_byte_products())),
        *attempt("torch", lambda: checks.check_torch(_version("torch"), *_answer(running.get("torch")), gpu, cores)),
    ]


def _machine(folder: Path, rate: "BagRate", floor_mib: int) -> "list[Finding]":
    from worldagen.doctor import machine as checks
    from worldagen.doctor.findings import attempt

    processor = checks.look_at_processor()
    release = checks.JETSON.read_text("utf-8") if checks.JETSON.exists() else ""
    findings = [
        *attempt("clock", _clock),
        *attempt("load", lambda: checks.check_load(processor)),
        *attempt("CPU governor", lambda: checks.check_governor(processor)),
        *attempt("heat", lambda: checks.check_heat(checks.look_at_zones(), checks.look_at_coolers(), processor.throttled)),
        *attempt("Jetson", lambda: checks.check_jetson(release)),
    ]
    if release:
        findings += attempt("power mode", lambda: checks.check_power_mode(checks.ask_power_mode(), _text("/etc/nvpmodel.conf")))
        findings += attempt("swap", lambda: checks.check_swap(checks.read_memory()))
    return [*findings, *attempt("disk speed", lambda: checks.look_at_disk(folder, floor_mib * checks.MIB, rate))]


def _clock() -> "Finding":
    from worldagen.doctor import machine as checks

    keepers = checks.running(checks.TIME_KEEPERS)
    try:
        return checks.check_clock(checks.look_at_clock(), keepers)
    except OSError as error:
        return checks.check_clock(None, keepers, error.strerror or str(error))


def _deployment(args: argparse.Namespace, messages: "Trial | None") -> "tuple[Group, BagRate, int, Path, str, list[Group]]":
    """The deployment's group; its bags' rate, floor of free MiB and folder; its renderer; the live group, if asked for."""
    from worldagen.doctor.findings import Group, attempt, skip
    from worldagen.doctor.machine import BagRate

    title = f"Deployment {args.deployment}"
    rate = BagRate(2 * 640 * 480 * 3 * ASSUMED_HZ, f"assuming 2 cameras of 640x480 at {ASSUMED_HZ:g} Hz")
    otherwise = rate, ASSUMED_FLOOR_MIB, Path("bags"), "auto"
    try:
        from worldagen_ros import doctor_deployment as checks
        from worldagen_ros.config import load_deployment
        from worldagen_ros.overrides import parse_overrides
        from worldagen_ros.robots import kinematics_of
    except ImportError as error:
        reason = f"needs the workspace and its packages ({error}); see the lines `workspace` and `numpy`"
        live = [Group("Running stack", (skip("running stack", reason),))] if args.live else []
        return Group(title, (skip("deployment", reason),)), *otherwise, live

    loaded: list[Any] = []
    kinematics: list[Any] = []

    def load() -> "Finding":
        loaded.append(load_deployment(args.deployment, parse_overrides(args.set)))
        return checks.check_deployment(loaded[0])

    def robot() -> "Finding":
        kinematics.append(kinematics_of(loaded[0].robot))
        return checks.check_robot(loaded[0].robot, kinematics[0])

    findings = attempt("deployment", load)
    if not loaded:
        live = [Group("Running stack", (skip("running stack", "no deployment to compare it with"),))] if args.live else []
        return Group(title, tuple(findings)), *otherwise, live
    config = loaded[0]
    findings += attempt("robot", robot)
    findings += attempt("policy", lambda: checks.check_policy(config))
    findings += attempt("policy threads", lambda: checks.check_policy_threads(config.policy))
    rate, live = checks.expected_bag_rate(config), []
    if args.live and _answer(messages)[0] is None:  # what crashed there would take us with it
        live = [Group("Running stack", (skip("running stack", "no message passes here; see the line `messages`"),))]
    elif args.live:
        found, measured = _live(args, config, kinematics[0] if kinematics else None)
        rate, live = measured or rate, [Group(f"Running stack, {args.live:g} s", tuple(found))]
    renderer = config.sim.renderer if config.robot.source == "simulator" else ""
    folder = Path(config.recorder.folder)
    return Group(title, tuple(findings)), rate, config.recorder.floor_mib, folder, renderer, live


def _live(args: argparse.Namespace, config: Any, kinematics: Any) -> "tuple[list[Finding], BagRate | None]":
    import os

    from worldagen.doctor.findings import attempt

    measured: list[Any] = []

    def listen() -> "list[Finding]":
        from worldagen_ros import doctor_listening, doctor_live
        from worldagen_ros.stack import stack_environment

        os.environ.update(stack_environment(os.environ))
        listener, graph, clocks = doctor_listening.listen(config, args.namespace, args.live)
        measured.append(doctor_live.measured_bag_rate(listener.heard, config))
        return list(doctor_live.examine(listener.heard, listener.contract, graph, clocks, config, kinematics))

    return attempt("running stack", listen), measured[0] if measured else None


def _answer(trial: "Trial | None") -> "tuple[dict[str, Any] | None, str]":
    """What a trial found, or None and why not."""
    from worldagen.doctor.trials import TrialFailed

    if trial is None:
        return None, "not tried"
    try:
        return trial.answer(), ""
    except TrialFailed as error:
        return None, str(error)


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except OSError:
        return ""
