"""What is tried in a process of its own, because it may crash, hang or take long: `python -m worldagen.doctor.trials NAME`.

The process prints one JSON object. All of them run side by side: begin first, ask for the answers last.
"""

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from worldagen.child_processes import end_with_parent
from worldagen.errors import WorldAgenError

PATIENCE_S = 60.0  # importing torch from a cold disk takes its time


class TrialFailed(WorldAgenError):
    """A trial crashed, raised or hung; the text tells how."""


class Trial:
    """One that runs. Ends with the `with` block, whatever it is doing."""

    def __init__(self, *command: str) -> None:
        """command: what follows `python -m`."""
        # Files, which are never full, unlike pipes.
        self._out, self._errors = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed at exit
        self._process = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._errors,
            preexec_fn=end_with_parent,
        )

    def __enter__(self) -> "Trial":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._out.close()
        self._errors.close()

    def answer(self, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """What it found. Raises TrialFailed."""
        try:
            code = self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            raise TrialFailed(f"still not done after {patience_s:g} s") from None
        self._out.seek(0)
        self._errors.seek(0)
        return read_answer(code, self._out.read(), self._errors.read())


def read_answer(code: int, out: str, errors: str) -> dict[str, Any]:
    """The JSON object in the last line of what a trial printed; raises TrialFailed with the last line of its errors."""
    if code == 0 and out.strip():
        return json.loads(out.strip().splitlines()[-1])
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    told = lines[-1] if lines else "it printed nothing"
    raise TrialFailed(f"crashed with {signal.Signals(-code).name}: {told}" if code < 0 else told)


def try_ros() -> dict[str, Any]:
    """Send a message with arrays through the C extension of its package, which is what another numpy breaks."""
    import numpy
    import rclpy
    from rclpy.serialization import deserialize_message, serialize_message
    from sensor_msgs.msg import CameraInfo

    sent = CameraInfo(width=640, k=[float(number) for number in range(9)])
    came = deserialize_message(serialize_message(sent), CameraInfo)
    if came != sent:
        raise ValueError("a CameraInfo came back changed from its own C extension")
    return {"numpy": numpy.__version__, "rmw": rclpy.get_rmw_implementation_identifier()}


def try_torch() -> dict[str, Any]:
    """What torch was built for and finds."""
    import torch

    devices = [
        {"name": torch.cuda.get_device_name(index), "capability": list(torch.cuda.get_device_capability(index))}
        for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    ]
    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda or "",
        "available": torch.cuda.is_available(),
        "devices": devices,
        "architectures": torch.cuda.get_arch_list() if torch.version.cuda else [],
        "threads": torch.get_num_threads(),
    }


def try_tensorrt() -> dict[str, Any]:
    """Its version."""
    import tensorrt

    return {"version": tensorrt.__version__}


TRIALS: dict[str, Callable[[], dict[str, Any]]] = {"ros": try_ros, "torch": try_torch, "tensorrt": try_tensorrt}


def begin(name: str) -> Trial:
    """Start one of TRIALS."""
    return Trial("worldagen.doctor.trials", name)


def main(arguments: Sequence[str]) -> None:
    """Run one of TRIALS and print what it found."""
    print(json.dumps(TRIALS[arguments[0]]()))


if __name__ == "__main__":
    main(sys.argv[1:])
