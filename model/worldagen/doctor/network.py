"""Interfaces of this machine, and whether multicast comes back over the one that ROS would use."""

import fcntl
import socket
import struct
from collections.abc import Mapping
from pathlib import Path

from worldagen.doctor.findings import Finding, fail, ok, skip
from worldagen.doctor.ros_environment import FASTDDS, Ros

LOOPBACK = "lo"
GROUP = "239.255.0.1"  # by which DDS finds others
PATIENCE_S = 0.5
SIOCGIFADDR, SIOCGIFFLAGS, IFF_UP = 0x8915, 0x8913, 0x1


def look_at_interfaces() -> dict[str, str]:
    """Interfaces that are up and have an IPv4 address -> that address."""
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                flags = struct.unpack_from("<H", fcntl.ioctl(asked, SIOCGIFFLAGS, request), 16)[0]
                address = socket.inet_ntoa(fcntl.ioctl(asked, SIOCGIFADDR, request)[20:24])
            except OSError:  # no address
                continue
            if flags & IFF_UP:
                found[name] = address
    return found


def default_interface(routes: str) -> str:
    """The interface of the default route in the text of /proc/net/route, "" when there is none."""
    rows = [line.split() for line in routes.splitlines()[1:]]
    return next((row[0] for row in rows if len(row) > 2 and row[1] == "00000000"), "")


def choose_interface(ros: Ros, interfaces: Mapping[str, str], routes: Path = Path("/proc/net/route")) -> str:
    """The loopback where ROS stays here, else that of the default route, else any; "" where none is up."""
    if ros.stays_here:
        return LOOPBACK if LOOPBACK in interfaces else ""
    try:
        chosen = default_interface(routes.read_text("ascii"))
    except OSError:
        chosen = ""
    return chosen if chosen in interfaces else next((name for name in interfaces if name != LOOPBACK), "")


def try_multicast(address: str) -> str:
    """Send to DDS's group over the interface with this address and hear it: what was wrong, "" for nothing.

    A port of its own, so that no DDS hears it; one hop at most.
    """
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth,
    ):
        try:
            ear.bind(("", 0))
            ear.settimeout(PATIENCE_S)
            ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + socket.inet_aton(address))
            mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
            mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
            mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
            mouth.bind((address, 0))
            mouth.sendto(b"worldagen doctor", (GROUP, ear.getsockname()[1]))
            while ear.recvfrom(64)[1] != mouth.getsockname():
                pass
        except TimeoutError:
            return f"nothing came back within {PATIENCE_S:g} s"
        except OSError as error:
            return error.strerror or str(error)
    return ""


def check_multicast(ros: Ros, interface: str, fault: str) -> Finding:
    """interface: "" where none is up. fault: of try_multicast."""
    name = "multicast"
    if ros.rmw not in (*FASTDDS, "rmw_cyclonedds_cpp"):
        return skip(name, f"{ros.rmw} does not find others by it")
    if not interface:
        lacking = "the loopback interface is down" if ros.stays_here else "no interface is up"
        return fail(
            name, lacking, "run: sudo ip link set lo up" if ros.stays_here else "connect the network, or stay on this machine"
        )
    if not fault:
        beyond = (
            ""
            if interface == LOOPBACK
            else "; whether switches pass it on is for `ros2 multicast receive` on the other machine"
        )
        return ok(name, f"comes back over {interface}{beyond}")
    if interface == LOOPBACK and ros.distribution != "humble" and ros.rmw in FASTDDS:
        return ok(name, f"does not come back over lo ({fault}); not needed, for nodes of one machine are asked directly")
    return fail(
        name,
        f"does not come back over {interface} ({fault}): nodes will not find each other",
        f"run: sudo ip link set {interface} multicast on, and let the firewall pass udp to 224.0.0.0/4",
    )
