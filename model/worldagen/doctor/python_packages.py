"""Python, and numpy beside ROS: message packages are compiled for one numpy, and pip brings another."""

import sys
from typing import Any

from worldagen.doctor.findings import Finding, fail, ok, skip
from worldagen.doctor.ros_environment import ACTIVATE, Ros

NUMPY_1 = {"humble": "1.21", "jazzy": "1.26"}  # distribution -> the numpy that its message packages are compiled with
PYTHONS = ((3, 10), (3, 13))  # from, to and without


def check_python(found: tuple[int, int] = sys.version_info[:2]) -> Finding:
    """Whether this suite is written for it."""
    text = ".".join(map(str, found))
    if PYTHONS[0] <= found < PYTHONS[1]:
        return ok("Python", text)
    return fail("Python", text, "make the environment with Python 3.10, 3.11 or 3.12")


def check_numpy(installed: str, ros: Ros) -> Finding:
    """numpy's version against the distribution's. installed: "" where there is none. Wheels work with both."""
    name = "numpy"
    if not installed:
        return fail(name, "is not installed", "run scripts/setup")
    major = int(installed.split(".")[0])
    wanted = "" if ros.from_wheels else NUMPY_1.get(ros.distribution, "")
    if wanted and major >= 2:
        return fail(
            name,
            f"{installed}, but messages of {ros.distribution.capitalize()} are compiled for numpy 1 ({wanted}): "
            "arrays in messages crash",
            "run: pip install 'numpy>=1.26,<2', and keep it so (scripts/setup does)",
        )
    if not ros.distribution:
        return ok(name, f"{installed}; no ROS to compare it with")
    return ok(name, f"{installed}, as {ros.distribution.capitalize()} takes it")


def check_messages(ros: Ros, answer: dict[str, Any] | None, fault: str = "") -> Finding:
    """Whether a message passes through its C extension. answer: of the trial, None where it failed with this fault."""
    name = "messages"
    if not ros.distribution:
        return skip(name, "no ROS")
    if answer is not None:
        return ok(
            name, f"a CameraInfo passes through its C extension unchanged, beside numpy {answer['numpy']} ({answer['rmw']})"
        )
    text = f"a CameraInfo does not pass through its C extension ({fault})"
    if "numpy" in fault.lower():
        return fail(name, text, "install the numpy that the messages were compiled for: pip install 'numpy>=1.26,<2'")
    if "cannot open shared object" in fault:
        return fail(name, text, f"libraries of ROS are not found: {ACTIVATE}")
    return fail(name, text, f"if ROS was installed for another Python, use that one; else {ACTIVATE}")
