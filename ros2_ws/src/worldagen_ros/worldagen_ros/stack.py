"""Start a deployment's nodes as processes, show what they say, and stop them so that nothing is left behind.

The same list of nodes (specs.py) and the same ROS arguments as the launch files. Each node has a session of its own, so that a
Ctrl-C reaches it through us, once, and is told by the kernel to end should we die.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_prefix

from worldagen.child_processes import end_with_parent
from worldagen.errors import ConfigError
from worldagen_ros.config import DeploymentConfig, config_folder
from worldagen_ros.specs import (
    MANAGER,
    PACKAGE,
    PICTURES_PROFILE,
    UDP_PROFILE,
    NodeSpec,
    flat_parameters,
    nodes_of,
    profile_of,
    remappings_of,
)

PATIENCE = ((signal.SIGINT, 5.0), (signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0))  # ask, insist, force; seconds each
MANAGER_PATIENCE_S = 10.0
RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
OLDER_PROFILE_NAME = ("humble", "iron", "jazzy")  # distributions whose Fast DDS reads the older variable


@dataclass(frozen=True)
class Ended:
    """A node that ended by itself: its name and its exit code (negative: the signal that killed it)."""

    name: str
    code: int

    @property
    def exit_code(self) -> int:
        """What a shell would report."""
        return 128 - self.code if self.code < 0 else self.code or 1

    def __str__(self) -> str:
        how = f"was killed by {signal.Signals(-self.code).name}" if self.code < 0 else f"ended with exit code {self.code}"
        return f"{self.name} {how}"


def stack_environment(base: Mapping[str, str], domain: int | None = None, profile: str = PICTURES_PROFILE) -> dict[str, str]:
    """The environment of a ROS process: transports (specs.py says which profile), one line of log at a time, no idle BLAS
    threads. A profile of Fast DDS that somebody else exported stays."""
    environment = dict(base)
    older = base.get("ROS_DISTRO", "") in OLDER_PROFILE_NAME
    variable = "FASTRTPS_DEFAULT_PROFILES_FILE" if older else "FASTDDS_DEFAULT_PROFILES_FILE"
    if base.get("ROS_DISTRO", "") == "humble":  # has no ranges of discovery, and adds shared memory to every profile
        profile = PICTURES_PROFILE
    if _is_ours(base.get(variable, "")):
        environment[variable] = str(config_folder() / profile)
        if base.get(RANGE) in ("LOCALHOST", "SYSTEM_DEFAULT"):  # both stay on this machine: fastdds_udp.xml
            environment[RANGE] = "SYSTEM_DEFAULT" if profile == UDP_PROFILE else "LOCALHOST"
    environment.setdefault("RCUTILS_CONSOLE_OUTPUT_FORMAT", "{severity}: {message}")
    environment.setdefault("OMP_NUM_THREADS", "1")  # the policy sets torch's threads itself
    environment["PYTHONUNBUFFERED"] = "1"
    if domain is not None:
        environment["ROS_DOMAIN_ID"] = str(domain)
    return environment


def _is_ours(path: str) -> bool:
    """Whether a profile is one of the package, which the starters may exchange; so it is where none is named."""
    if not path:
        return True
    try:
        said = Path(path).read_bytes()  # an installed copy and the one in the sources are the same
    except OSError:
        return False
    return any(said == (config_folder() / name).read_bytes() for name in (PICTURES_PROFILE, UDP_PROFILE))


def ros_arguments(
    spec: NodeSpec, namespace: str, parameter_file: Path, remappings: Sequence[tuple[str, str]] = ()
) -> list[str]:
    """What follows `--ros-args` for one node."""
    arguments = ["-r", f"__node:={spec.name}", "--params-file", str(parameter_file)]
    if namespace.strip("/"):
        arguments += ["-r", f"__ns:=/{namespace.strip('/')}"]
    for old, new in remappings_of(namespace, remappings):
        arguments += ["-r", f"{old}:={new}"]
    return arguments


class Stack:
    """The processes of one deployment. `say(name, line)` receives every line they print, from several threads."""

    def __init__(
        self,
        config: DeploymentConfig,
        say: Callable[[str, str], None],
        namespace: str = "",
        domain: int | None = None,
        remappings: Sequence[tuple[str, str]] = (),
    ) -> None:
        """remappings: of every node, as pairs of our name and the name on the wire."""
        self._config, self._say, self._namespace, self._remappings = config, say, namespace, remappings
        self._domain = domain
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._readers: list[threading.Thread] = []
        self._folder = tempfile.TemporaryDirectory(prefix="worldagen-")

    def __enter__(self) -> "Stack":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def pid(self, name: str) -> int:
        """Process id of a node."""
        return self._processes[name].pid

    def code(self, name: str) -> int | None:
        """Exit code of a node that has ended (negative: the signal that killed it); None while it runs."""
        return self._processes[name].poll()

    def start(self) -> None:
        """Start every node. Raises ConfigError when the workspace is not built or not sourced."""
        for spec in nodes_of(self._config):
            self.start_node(spec)

    def start_node(self, spec: NodeSpec) -> None:
        """Start one node, also again after it has ended. Raises ConfigError as start does."""
        try:
            programs = Path(get_package_prefix(PACKAGE)) / "lib" / PACKAGE
        except PackageNotFoundError:
            raise ConfigError(f"ROS does not find {PACKAGE}; run scripts/setup, then source scripts/activate") from None
        file = Path(self._folder.name) / f"{spec.name}.yaml"
        file.write_text(yaml.safe_dump({"/**": {"ros__parameters": flat_parameters(spec, self._config)}}), "utf-8")
        process = subprocess.Popen(
            [str(programs / spec.executable), "--ros-args", *ros_arguments(spec, self._namespace, file, self._remappings)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=stack_environment(os.environ, self._domain, profile_of(spec, self._config)),
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
        self._processes[spec.name] = process
        reader = threading.Thread(target=self._pass_on, args=(spec.name, process), daemon=True)
        reader.start()
        self._readers.append(reader)

    def ended(self) -> Ended | None:
        """The first node that is no longer running, if any."""
        for name, process in self._processes.items():
            code = process.poll()
            if code is not None:
                return Ended(name, code)
        return None

    def stop(self) -> None:
        """Ask the manager to take the others down, then all nodes to end, insist, force; remove what a forced end leaves."""
        self._dismiss_manager()
        for number, patience_s in PATIENCE:
            running = [process for process in self._processes.values() if process.poll() is None]
            for process in running:
                os.killpg(process.pid, number)
            deadline = time.monotonic() + patience_s
            while any(process.poll() is None for process in running) and time.monotonic() < deadline:
                time.sleep(0.02)
        for reader in self._readers:
            reader.join(timeout=1.0)
        if any(
            process.returncode in (-signal.SIGKILL, -signal.SIGSEGV, -signal.SIGABRT) for process in self._processes.values()
        ):
            clean_shared_memory()
        self._folder.cleanup()

    def _dismiss_manager(self) -> None:
        """It deactivates the nodes in their order; a stack that it does not manage in time is ended without."""
        manager = self._processes.get(MANAGER)
        if manager is None or manager.poll() is not None:
            return
        os.killpg(manager.pid, signal.SIGINT)
        try:
            manager.wait(MANAGER_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._say(MANAGER, f"did not end within {MANAGER_PATIENCE_S:g} s")

    def _pass_on(self, name: str, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self._say(name, line.rstrip("\n"))


def clean_shared_memory() -> None:
    """Remove the segments of participants that were killed; those of living ones stay."""
    try:
        subprocess.run(
            ["fastdds", "shm", "clean"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"could not remove shared memory of killed nodes ({error}); run: fastdds shm clean", file=sys.stderr)
