"""ROS as a shell sees it: distribution, workspace, middleware, domain, discovery, transport. Imports no ROS."""

import fcntl
import os
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from worldagen.doctor.findings import Finding, fail, ok, skip, warn

KNOWN = ("humble", "jazzy", "kilted", "rolling")  # distributions this suite is written for
OLDER_FASTDDS = ("humble", "iron", "jazzy")  # their Fast DDS reads the older variable, as in worldagen_ros/stack.py
WHEELS = {"9": "kilted", "7": "jazzy"}  # major version of the wheel ros-rclpy -> distribution
PACKAGES = ("worldagen_msgs", "worldagen_ros")  # of our workspace
DEFAULT_RMW = "rmw_fastrtps_cpp"
FASTDDS = ("rmw_fastrtps_cpp", "rmw_fastrtps_dynamic_cpp")
RANGES = ("SUBNET", "LOCALHOST", "OFF", "SYSTEM_DEFAULT")
SAFE_DOMAIN, LARGEST_DOMAIN = (
    101,
    232,
)  # above the first, ports may be those Linux gives to others; above the second, none are left
PICTURE_BYTES = 640 * 480 * 3
MIB = 1 << 20
SMALL_SHM = 256 * MIB  # seven nodes with a segment of 32 MiB each
SEGMENT = re.compile(r"^(fastdds|fastrtps)_[0-9a-f]{16}$")
ACTIVATE = "run scripts/setup if it never ran, then: . scripts/activate"


@dataclass(frozen=True)
class Ros:
    """What is known of ROS without importing it.

    distribution: its name, "" when there is none. from_wheels: whether it comes from the Python environment.
    prefixes: the folders of AMENT_PREFIX_PATH that exist. rmw: the middleware that will be used.
    """

    environment: Mapping[str, str]
    distribution: str
    from_wheels: bool
    prefixes: tuple[Path, ...]

    @property
    def rmw(self) -> str:
        return self.environment.get("RMW_IMPLEMENTATION") or DEFAULT_RMW

    @property
    def stays_here(self) -> bool:
        """Whether nodes of other machines are out of reach by discovery."""
        if self.environment.get("ROS_LOCALHOST_ONLY", "0") == "1":
            return True
        return self.distribution != "humble" and self.environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE") in ("LOCALHOST", "OFF")


def look_at_ros(environment: Mapping[str, str] = os.environ) -> Ros:
    """Gather it for this process."""
    wheels = wheel_version()
    sourced = environment.get("ROS_DISTRO", "")
    prefixes = tuple(Path(part) for part in environment.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if part)
    return Ros(
        environment,
        sourced or (WHEELS.get(wheels.split(".")[0], "unknown") if wheels else ""),
        not sourced and bool(wheels),
        tuple(prefix for prefix in prefixes if prefix.is_dir()),
    )


def wheel_version() -> str:
    """Of rclpy from wheels, "" when there are none in this Python environment."""
    try:
        return version("ros-rclpy")
    except PackageNotFoundError:
        return ""


def installed_distributions(folder: Path = Path("/opt/ros")) -> list[str]:
    """What is on this machine, sourced or not."""
    return sorted(path.parent.name for path in folder.glob("*/setup.bash"))


def check_distribution(ros: Ros, wheels: str, installed: Sequence[str]) -> Finding:
    """Which ROS there is. wheels: version of rclpy from wheels, or "". installed: distributions found on the machine."""
    name = "ROS"
    if not ros.distribution:
        if installed:
            return fail(
                name, f"no ROS is sourced; installed is {', '.join(installed)}", f"run: . /opt/ros/{installed[-1]}/setup.bash"
            )
        return fail(
            name, "there is no ROS on this machine", "run scripts/setup, which brings it as wheels, or install a distribution"
        )
    if ros.from_wheels:
        return ok(name, f"{ros.distribution.capitalize()} from wheels (rclpy {wheels})")
    text = f"{ros.distribution.capitalize()}, sourced"
    if wheels:
        return fail(
            name,
            f"{text}, and wheels of another ROS (rclpy {wheels}) in this Python environment: their libraries mix",
            "use an environment made while the distribution was sourced (remove .venv and run scripts/setup), or a fresh shell",
        )
    if ros.distribution not in KNOWN:
        return warn(name, f"{text}; this suite is written for {', '.join(KNOWN)}", "use one of those, or expect surprises")
    return ok(name, text)


def check_workspace(ros: Ros, importable: Collection[str]) -> Finding:
    """Whether our packages are found. importable: those that Python finds."""
    name = "workspace"
    announced = [
        package for package in PACKAGES if any(index_of(prefix, "packages", package).exists() for prefix in ros.prefixes)
    ]
    missing = [package for package in PACKAGES if package not in announced]
    if missing:
        return fail(name, f"not sourced: ROS does not find {' and '.join(missing)}", ACTIVATE)
    lost = [package for package in PACKAGES if package not in importable]
    if lost:
        return fail(
            name,
            f"sourced, but Python {sys.version_info.major}.{sys.version_info.minor} does not find {' and '.join(lost)}",
            "another Python built it, or half of it: run scripts/setup again, in a shell where only this ROS is sourced",
        )
    return ok(name, f"sourced: {', '.join(announced)}")


def index_of(prefix: Path, kind: str, name: str) -> Path:
    """Where the ament index of a prefix announces a resource."""
    return prefix / "share/ament_index/resource_index" / kind / name


def importable_packages() -> list[str]:
    """Those of our workspace that this Python finds."""
    return [package for package in PACKAGES if find_spec(package)]


def installed_rmws(prefixes: Sequence[Path]) -> list[str]:
    """Middlewares that the ament index announces."""
    folders = [index_of(prefix, "rmw_typesupport", "") for prefix in prefixes]
    names = {path.name for folder in folders if folder.is_dir() for path in folder.iterdir()}
    return sorted(names - {"rmw_implementation"})  # which only chooses among the others


def check_rmw(ros: Ros, installed: Sequence[str]) -> Finding:
    """The middleware in use, and whether it is there."""
    name = "middleware"
    if not ros.distribution:
        return skip(name, "no ROS")
    why = "chosen by RMW_IMPLEMENTATION" if ros.environment.get("RMW_IMPLEMENTATION") else "the default"
    if not installed:
        return skip(name, f"{ros.rmw} ({why}); the workspace is not sourced, so what is installed is not known")
    if ros.rmw not in installed:
        package = f"ros-{ros.distribution}-{ros.rmw.replace('_', '-')}"
        advice = f"install {package}" if not ros.from_wheels else "the wheels have no other"
        return fail(
            name,
            f"{ros.rmw} ({why}) is not installed; there is {', '.join(installed)}",
            f"{advice}, or run: unset RMW_IMPLEMENTATION",
        )
    if ros.rmw == "rmw_zenoh_cpp":
        return warn(
            name, f"{ros.rmw} ({why}) finds nobody without its router", "keep one running: ros2 run rmw_zenoh_cpp rmw_zenohd"
        )
    return ok(name, f"{ros.rmw} ({why})")


def check_domain(ros: Ros, interfaces: Sequence[str]) -> Finding:
    """The domain, and who else may be in it. interfaces: those that are up, without the loopback."""
    name = "domain"
    text = ros.environment.get("ROS_DOMAIN_ID", "")
    if text and not text.strip().isdecimal():
        return fail(name, f"ROS_DOMAIN_ID is {text!r}", f"set a whole number from 0 to {SAFE_DOMAIN}")
    domain = int(text or 0)
    if domain > LARGEST_DOMAIN:
        return fail(name, f"ROS_DOMAIN_ID is {domain}: there are no such ports", f"set one from 0 to {SAFE_DOMAIN}")
    if domain > SAFE_DOMAIN:
        return warn(
            name, f"ROS_DOMAIN_ID is {domain}: Linux may give its ports to other programs", f"set one from 0 to {SAFE_DOMAIN}"
        )
    told = f"{domain}" if text else "0 (ROS_DOMAIN_ID is not set)"
    if domain == 0 and interfaces and not ros.stays_here:
        return warn(
            name,
            f"{told}, where every ROS 2 machine begins: nodes of others on {', '.join(interfaces)} and yours mix",
            f"set ROS_DOMAIN_ID to a number of your own, 1 to {SAFE_DOMAIN}, in every shell and on every machine of this robot",
        )
    return ok(name, told)


def check_discovery(ros: Ros) -> Finding:
    """How far nodes look for each other."""
    name = "discovery"
    local, reach = (ros.environment.get(key, "") for key in ("ROS_LOCALHOST_ONLY", "ROS_AUTOMATIC_DISCOVERY_RANGE"))
    if ros.distribution == "humble":
        if reach and local != "1":
            return warn(
                name,
                f"ROS_AUTOMATIC_DISCOVERY_RANGE={reach}, which Humble does not know",
                "set ROS_LOCALHOST_ONLY=1 to stay here",
            )
        return ok(name, "this machine only (ROS_LOCALHOST_ONLY=1)" if local == "1" else "every machine on the network")
    if reach and reach not in RANGES:
        return fail(name, f"ROS_AUTOMATIC_DISCOVERY_RANGE is {reach!r}", f"set one of: {', '.join(RANGES)}")
    if reach == "OFF":
        return fail(
            name,
            "ROS_AUTOMATIC_DISCOVERY_RANGE is OFF: not even nodes of this machine find each other",
            "set LOCALHOST or SUBNET",
        )
    if local == "1" and reach != "LOCALHOST":
        return warn(
            name,
            f"ROS_LOCALHOST_ONLY=1 overrules ROS_AUTOMATIC_DISCOVERY_RANGE ({reach or 'not set'}) and is on its way out",
            "run: unset ROS_LOCALHOST_ONLY; export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST",
        )
    if reach == "LOCALHOST":
        return ok(name, "this machine only (ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST)")
    return ok(name, f"every machine on the network (ROS_AUTOMATIC_DISCOVERY_RANGE is {reach or 'not set'})")


@dataclass(frozen=True)
class Transport:
    """What a Fast DDS profile says of transports. segment_bytes: of the shared memory, 0 when it names none."""

    segment_bytes: int
    loopback_only: bool


def read_profile(path: Path) -> Transport:
    """Raises ValueError, with the reason, for a file that is no profile."""
    try:
        root = ElementTree.fromstring(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, ElementTree.ParseError) as error:
        raise ValueError(str(error)) from None
    sizes, addresses = [], []
    for element in root.iter():
        tag, text = element.tag.rpartition("}")[2], (element.text or "").strip()
        if tag == "segment_size" and text.isdecimal():
            sizes.append(int(text))
        elif tag == "address":
            addresses.append(text)
    return Transport(max(sizes, default=0), bool(addresses) and all(text.startswith("127.") for text in addresses))


def check_profile(ros: Ros) -> Finding:
    """Whether Fast DDS is told of transports that hold pictures."""
    name = "transport profile"
    if ros.rmw not in FASTDDS:
        return skip(name, f"{ros.rmw} reads none of Fast DDS")
    older = ros.distribution in OLDER_FASTDDS
    variable = "FASTRTPS_DEFAULT_PROFILES_FILE" if older else "FASTDDS_DEFAULT_PROFILES_FILE"
    path = ros.environment.get(variable, "")
    export = f"export {variable} with the path of config/fastdds.xml of worldagen_ros, or run: . scripts/activate"
    if not path:
        return warn(
            name,
            f"{variable} is not set: drivers started here have 512 KiB of shared memory and lose most pictures "
            "(`worldagen up` sets it for its own nodes)",
            export,
        )
    try:
        transport = read_profile(Path(path))
    except ValueError as error:
        return fail(name, f"{variable} is {path}, which cannot be read ({error})", export)
    if transport.segment_bytes < 2 * PICTURE_BYTES:
        size = f"{transport.segment_bytes / MIB:.1f} MiB" if transport.segment_bytes else "the default, 512 KiB"
        return warn(
            name,
            f"{path} gives {size} of shared memory; a picture of 640x480 takes 0.9 MiB",
            f"raise segment_size, or {export}",
        )
    if transport.loopback_only and not ros.stays_here:
        return warn(
            name,
            f"{path} speaks on 127.0.0.1 only, while discovery reaches other machines: nodes there hear nothing",
            "leave interfaceWhiteList out in a copy of it for several machines, or stay on this one with "
            + ("ROS_LOCALHOST_ONLY=1" if ros.distribution == "humble" else "ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST"),
        )
    return ok(name, f"{transport.segment_bytes / MIB:.0f} MiB of shared memory a node ({path})")


@dataclass(frozen=True)
class SharedMemory:
    """/dev/shm. left_over: bytes of Fast DDS segments whose owners are gone, by file name; in_use: number of living ones."""

    total_bytes: int
    free_bytes: int
    writable: bool
    left_over: Mapping[str, int]
    in_use: int


def look_at_shared_memory(folder: Path = Path("/dev/shm")) -> SharedMemory | None:
    """None where there is no such folder. An owner that lives keeps its segment's lock file locked."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return None
    left_over, in_use = {}, 0
    for path in folder.iterdir():
        if SEGMENT.match(path.name):
            try:
                if _is_locked(path.with_name(f"{path.name}_el")):
                    in_use += 1
                else:
                    left_over[path.name] = path.stat().st_size
            except FileNotFoundError:  # it ended while we looked, or never had a lock file
                continue
    size = disk.f_frsize
    return SharedMemory(disk.f_blocks * size, disk.f_bavail * size, os.access(folder, os.W_OK), left_over, in_use)


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        return True  # another user's; not ours to judge
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


def check_shared_memory(memory: SharedMemory | None) -> Finding:
    """Room for pictures between processes, and what killed nodes left behind."""
    name = "shared memory"
    if memory is None:
        return fail(name, "there is no /dev/shm", "mount a tmpfs there; in a container: --ipc=host or --shm-size=1g")
    if not memory.writable:
        return fail(name, "/dev/shm cannot be written by this user", "run: sudo chmod 1777 /dev/shm")
    sizes = f"{memory.free_bytes / MIB:,.0f} of {memory.total_bytes / MIB:,.0f} MiB of /dev/shm free"
    if memory.left_over:
        size = f"{sum(memory.left_over.values()) / MIB:.0f} MiB"
        left = f"{len(memory.left_over)} Fast DDS segments of nodes that were killed, {size}"
        return warn(name, f"{sizes}; it holds {left}", "remove them: fastdds shm clean")
    if memory.free_bytes < SMALL_SHM:
        return warn(
            name,
            f"{sizes}; every node takes 32 MiB for pictures",
            "in a container: --ipc=host or --shm-size=1g; else: sudo mount -o remount,size=1g /dev/shm",
        )
    return ok(name, f"{sizes}, no segment of a killed node" + (f", {memory.in_use} in use" if memory.in_use else ""))


def check_socket_buffer(ros: Ros, rmem_max: int | None, wanted: int = 4 * MIB) -> Finding:
    """Whether the kernel grants the receive buffer that pictures over UDP need. rmem_max: bytes, None when not readable."""
    name = "socket buffer"
    if rmem_max is None:
        return skip(name, "/proc/sys/net/core/rmem_max cannot be read")
    told = f"the kernel grants {rmem_max / MIB:.1f} MiB"
    if rmem_max >= wanted:
        return ok(name, told)
    if ros.rmw in FASTDDS and ros.stays_here:
        return ok(name, f"{told}; pictures go through shared memory here")
    return warn(
        name,
        f"{told}; a picture that comes over UDP is lost when its parts do not fit",
        f"run: sudo sysctl -w net.core.rmem_max={8 * MIB} (and put it into /etc/sysctl.d to keep it)",
    )
