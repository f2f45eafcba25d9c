"""The machine: its clock, its processor and how hot it is, a Jetson's power and memory, and its disk."""

import ctypes
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from worldagen.bags.disk import free_bytes
from worldagen.doctor.findings import Finding, fail, ok, skip, warn

MIB = 1 << 20
TIME_KEEPERS = ("chronyd", "systemd-timesyn", "ntpd", "ptp4l", "phc2sys", "openntpd")  # as /proc/PID/comm tells, 15 letters
UNSYNCHRONISED = 0x0040  # STA_UNSYNC of adjtimex(2)
LARGEST_CLOCK_ERROR_S = 0.1  # the kernel's own bound, which is far above the true error
JETSON = Path("/etc/nv_tegra_release")
SELF_GOVERNED = ("intel_pstate", "amd-pstate-epp")  # drivers whose "powersave" means "as needed"
COOLERS = ("cpu", "gpu", "processor", "thermal-cpufreq", "thermal-devfreq", "devfreq")  # that slow something down; fans do not
NEAR_LIMIT_C = 5.0
BLOCK_BYTES, TRIAL_BYTES, TRIAL_S = 4 * MIB, 64 * MIB, 0.7
ROOM = 2.0  # how much faster than a bag's rate a disk should be
SHORT_RECORDING_S = 600.0


@dataclass(frozen=True)
class KernelClock:
    """What adjtimex(2) tells. largest_error_s: the kernel's bound on the difference from true time."""

    synchronised: bool
    largest_error_s: float


class _Timex(ctypes.Structure):
    """struct timex of adjtimex(2), up to what is read here and padded to its whole size."""

    _fields_ = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    ]


def look_at_clock() -> KernelClock:
    """Raises OSError where the system does not tell (containers may forbid it)."""
    asked = _Timex()  # modes 0: only read
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.adjtimex(ctypes.byref(asked)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return KernelClock(not asked.status & UNSYNCHRONISED, asked.maxerror * 1e-6)


def running(names: Sequence[str], processes: Path = Path("/proc")) -> list[str]:
    """Those of some programs that run, by the first 15 letters of their names."""
    found = set()
    for path in processes.glob("[0-9]*/comm"):
        try:
            found.add(path.read_text("utf-8").strip())
        except (OSError, UnicodeDecodeError):  # it has ended
            continue
    return [name for name in names if name in found]


def check_clock(clock: KernelClock | None, keepers: Sequence[str], reason: str = "") -> Finding:
    """Whether somebody keeps it. keepers: programs that do, running. reason: why it is None."""
    name = "clock"
    by = f" by {', '.join(keepers)}" if keepers else ""
    if clock is None:
        return skip(name, f"the kernel does not tell ({reason})" + (f"; {', '.join(keepers)} runs" if keepers else ""))
    if not clock.synchronised:
        found = f"not synchronised, though {', '.join(keepers)} runs" if keepers else "not synchronised: nobody keeps it"
        return warn(
            name,
            f"{found}; stamps of cameras or robots on other machines will not fit yours",
            "see `chronyc tracking`"
            if "chronyd" in keepers
            else "run: sudo apt install chrony, on every machine of this robot",
        )
    error = f"{clock.largest_error_s * 1e3:.1f} ms off at most, by the kernel's bound"
    if clock.largest_error_s > LARGEST_CLOCK_ERROR_S:
        return warn(name, f"synchronised{by}, yet {error}", "keep a nearer time server: chrony, or PTP between the machines")
    return ok(name, f"synchronised{by}, {error}")


@dataclass(frozen=True)
class Processor:
    """governors: of each core, as far as readable. throttled: events since the start, None where nobody counts."""

    cores: int
    load: float
    driver: str
    governors: tuple[str, ...]
    throttled: int | None


def look_at_processor(cpus: Path = Path("/sys/devices/system/cpu")) -> Processor:
    """Gather it; what cannot be read is left out."""
    cores = sorted(cpus.glob("cpu[0-9]*"))
    counts = [_number(core / "thermal_throttle/core_throttle_count") for core in cores]
    counted = [int(number) for number in counts if number is not None]
    return Processor(
        len(os.sched_getaffinity(0)),
        os.getloadavg()[0],
        _text(cpus / "cpu0/cpufreq/scaling_driver"),
        tuple(text for core in cores if (text := _text(core / "cpufreq/scaling_governor"))),
        sum(counted) if counted else None,
    )


def check_governor(processor: Processor) -> Finding:
    """Whether cores sleep between two decisions."""
    name = "CPU governor"
    if not processor.governors:
        return skip(name, "the kernel tells none, as in virtual machines and containers")
    kinds = ", ".join(sorted(set(processor.governors)))
    if "powersave" in processor.governors and processor.driver not in SELF_GOVERNED:
        return warn(name, f"{kinds}: cores stay at their lowest clock", "run: sudo cpupower frequency-set -g performance")
    return ok(name, f"{kinds} ({processor.driver or 'driver not told'})")


def check_load(processor: Processor) -> Finding:
    """Whether others compute here too."""
    text = f"{processor.load:.1f} on {processor.cores} cores in the last minute"
    if processor.load > processor.cores:
        return warn("load", f"{text}: who runs in real time will be late", "end what need not run now (see `top`)")
    return ok("load", text)


@dataclass(frozen=True)
class Zone:
    """A thermal zone. limit_c: the lowest temperature at which the kernel slows something down or stops; 0 for none told."""

    name: str
    celsius: float
    limit_c: float


def look_at_zones(folder: Path = Path("/sys/class/thermal")) -> list[Zone]:
    """Those that can be read; some sensors are off until asked for by their device."""
    zones = []
    for path in sorted(folder.glob("thermal_zone*")):
        celsius = _number(path / "temp")
        if celsius is None or celsius <= 0:
            continue
        limits = [
            limit
            for kind in path.glob("trip_point_*_type")
            if _text(kind) in ("passive", "hot", "critical")
            and (limit := _number(kind.with_name(kind.name.replace("_type", "_temp")))) is not None
            and limit > 0
        ]
        zones.append(Zone(_text(path / "type") or path.name, celsius / 1000, min(limits, default=0) / 1000))
    return zones


def look_at_coolers(folder: Path = Path("/sys/class/thermal")) -> dict[str, int]:
    """What slows something down at this moment because of heat -> how far; fans do not count."""
    states = {}
    for path in sorted(folder.glob("cooling_device*")):
        kind, state = _text(path / "type"), _number(path / "cur_state")
        if kind.lower().startswith(COOLERS) and state is not None and state > 0:
            states[kind] = int(state)
    return states


def check_heat(zones: Sequence[Zone], coolers: Mapping[str, int], throttled: int | None) -> Finding:
    """How near to its limits the machine is, and whether it is slowed down. throttled: as in Processor."""
    name = "heat"
    if coolers:
        slowed = ", ".join(f"{kind} (step {state})" for kind, state in coolers.items())
        return warn(
            name, f"slowed down because of heat: {slowed}", "better cooling, a fan at full speed, or a lower power mode"
        )
    if not zones:
        told = f"; {throttled} throttle events since the start" if throttled else ""
        return skip(name, f"no thermal zone can be read, as in virtual machines and containers{told}")
    near = [zone for zone in zones if zone.limit_c and zone.celsius > zone.limit_c - NEAR_LIMIT_C]
    if near:
        hot = ", ".join(f"{zone.name} {zone.celsius:.0f} °C of {zone.limit_c:.0f}" for zone in near)
        return warn(name, f"near the limit at which it is slowed down: {hot}", "better cooling, or a lower power mode")
    hottest = max(zones, key=lambda zone: zone.celsius)
    text = f"{hottest.celsius:.0f} °C at most ({hottest.name})"
    if throttled:
        return warn(
            name, f"{text}, but slowed down {throttled} times since the start", "watch this line under load; better cooling"
        )
    return ok(name, text)


def check_jetson(release: str) -> Finding:
    """Which Jetson software. release: the text of /etc/nv_tegra_release, "" for another machine."""
    if not release:
        return skip("Jetson", "this is none, so there is no power mode to look at")
    found = re.search(r"R(\d+).*?REVISION:\s*([\d.]+)", release)
    return ok("Jetson", f"Jetson Linux {found[1]}.{found[2]}" if found else release.splitlines()[0].strip())


def ask_power_mode() -> str:
    """What `nvpmodel -q` prints. Raises OSError or SubprocessError."""
    return subprocess.run(["nvpmodel", "-q"], capture_output=True, text=True, timeout=5, check=True).stdout


def check_power_mode(printed: str, known: str) -> Finding:
    """printed: by `nvpmodel -q`. known: the text of /etc/nvpmodel.conf, which lists the modes."""
    name = "power mode"
    found = re.search(r"NV Power Mode:\s*(\S+)", printed)
    if not found:
        return warn(name, f"nvpmodel -q printed {printed.strip()!r}", "ask it by hand: sudo nvpmodel -q")
    modes = {mode: number for number, mode in re.findall(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", known)}
    fastest = max((mode for mode in modes if mode.startswith("MAXN")), key=len, default="")  # MAXN_SUPER is above MAXN
    if fastest and found[1] != fastest:
        return warn(
            name,
            f"{found[1]}, while there is {fastest}",
            f"run: sudo nvpmodel -m {modes[fastest]} && sudo jetson_clocks, if power supply and cooling allow it",
        )
    return ok(name, f"{found[1]}; sudo jetson_clocks keeps the clocks up")


def check_swap(memory: Mapping[str, int]) -> Finding:
    """memory: of /proc/meminfo, kB. A Jetson's GPU shares the memory, and what is swapped out is late."""
    name = "swap"
    total, free, available = (memory.get(key, 0) / 1024 for key in ("SwapTotal", "SwapFree", "MemAvailable"))
    used_mib = total - free
    text = f"{used_mib:.0f} of {total:.0f} MiB used, {available:.0f} MiB of memory free"
    if used_mib > 64:
        return warn(name, f"{text}: what was swapped out answers late", "end what need not run (the desktop: sudo init 3)")
    return ok(name, text)


def read_memory(path: Path = Path("/proc/meminfo")) -> dict[str, int]:
    """Its numbers, kB."""
    rows = (line.partition(":") for line in path.read_text("ascii").splitlines())
    return {name: int(rest.split()[0]) for name, _, rest in rows}


@dataclass(frozen=True)
class BagRate:
    """Bytes per second that a bag of a deployment takes, uncompressed, and where the number is from."""

    bytes_per_s: float
    source: str


def existing_folder(path: Path) -> Path:
    """The folder itself or the nearest above it that exists."""
    path = path.expanduser().absolute()
    while not path.is_dir():
        path = path.parent
    return path


def measure_write(folder: Path, limit_s: float = TRIAL_S) -> float:
    """Bytes per second to the disk of a folder: random bytes to a file without a name, then fsync. Raises OSError."""
    block, written = os.urandom(BLOCK_BYTES), 0
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        begun_s = time.monotonic()
        while written < TRIAL_BYTES and time.monotonic() - begun_s < limit_s:
            file.write(block)
            os.fsync(file.fileno())  # block by block, or the last one would take all the time
            written += len(block)
        return written / (time.monotonic() - begun_s)


def check_write_speed(folder: Path, bytes_per_s: float, rate: BagRate) -> Finding:
    """A disk's speed against a bag's rate."""
    name = "disk speed"
    text = f"{folder} takes {bytes_per_s / 1e6:.0f} MB/s; a bag takes {rate.bytes_per_s / 1e6:.1f} MB/s raw ({rate.source})"
    advice = "record to a faster disk (--bags DIR tells of another), with recorder.compression=zstd, or compressed pictures"
    if bytes_per_s < rate.bytes_per_s:
        return fail(name, text, advice)
    if bytes_per_s < ROOM * rate.bytes_per_s:
        return warn(name, f"{text}, which leaves little room", advice)
    return ok(name, text)


def check_free_disk(folder: Path, free: int, floor: int, rate: BagRate) -> Finding:
    """free, floor: bytes; the recorder stops at the floor."""
    name = "disk space"
    text = f"{free / MIB:,.0f} MiB free for {folder}; the recorder stops at recorder.floor_mib = {floor / MIB:,.0f}"
    if free < floor:
        return fail(name, text, "free some, or record elsewhere (recorder.folder)")
    left_s = (free - floor) / rate.bytes_per_s
    if left_s < SHORT_RECORDING_S:
        return warn(
            name,
            f"{text}, reached after {left_s / 60:.0f} minutes uncompressed",
            "free some, or record elsewhere (recorder.folder)",
        )
    return ok(name, f"{text}, reached after {_long(left_s)} uncompressed")


def look_at_disk(folder: Path, floor: int, rate: BagRate) -> list[Finding]:
    """Both checks of a folder that exists or will be made."""
    there = existing_folder(folder)
    free = free_bytes(there)
    space = check_free_disk(folder, free, floor, rate)
    if not os.access(there, os.W_OK):
        return [
            fail("disk speed", f"{there} cannot be written by this user", "choose another folder: --bags DIR, recorder.folder"),
            space,
        ]
    if free - TRIAL_BYTES < floor:
        return [skip("disk speed", "not measured: that would go below the floor of free disk"), space]
    return [check_write_speed(there, measure_write(there), rate), space]


def _long(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.0f} hours"


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _number(path: Path) -> float | None:
    try:
        return float(_text(path))
    except ValueError:
        return None
