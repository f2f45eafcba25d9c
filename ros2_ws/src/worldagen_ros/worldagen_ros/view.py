"""Where the Rerun viewer is: a window where there is a display, else a page to open from another machine, or a file.

The page and its data port listen on the loopback interface only.
"""

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import numpy as np
import rerun

from worldagen.child_processes import end_with_parent
from worldagen.errors import WorldAgenError

DATA_PORT, PAGE_PORT = 9876, 9090
START_S = 20.0  # so long the page's server may take to listen


class Viewer:
    """A place where what is logged to `rerun` can be looked at. `how` says how to."""

    def __init__(self, data_port: int = DATA_PORT, page_port: int = PAGE_PORT, web: bool = False) -> None:
        """web: a page also where there is a display. Raises WorldAgenError when the viewer cannot be started."""
        self._server: subprocess.Popen[bytes] | None = None
        self.recording = begin_recording()
        if not web and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            rerun.spawn(port=data_port)
            self.how = "the Rerun viewer has opened"
            return
        self._server = _serve(data_port, page_port)
        address = f"rerun+http://127.0.0.1:{data_port}/proxy"
        self.page = f"http://127.0.0.1:{page_port}/?url={quote(address, safe='')}"
        rerun.connect_grpc(address)
        self.how = (
            f"{'open' if web else 'no display here; open'} {self.page}\n"
            f"from another machine, first: ssh -L {page_port}:127.0.0.1:{page_port} -L {data_port}:127.0.0.1:{data_port} HOST"
        )

    def close_when_told(self) -> None:
        """Keep the page up until Ctrl-C, so that whoever comes late sees everything; a window stays by itself."""
        self.recording.flush()
        if self._server is not None:
            print("the page stays until you press Ctrl-C", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                self._server.wait()
            self.close()

    def close(self) -> None:
        """End the page's server."""
        rerun.disconnect()
        if self._server is not None:
            self._server.terminate()
            self._server.wait(timeout=5)


class LiveView(Viewer):
    """Shows pictures and numbers as they come."""

    def pictures(self, static: np.ndarray, wrist: np.ndarray, seconds: float) -> None:
        """(H, W, 3) uint8 of one instant."""
        rerun.set_time("time", duration=seconds)
        rerun.log("static_camera", rerun.Image(static))
        rerun.log("wrist_camera", rerun.Image(wrist))

    def tell(self, text: str) -> None:
        """A line in the viewer's log."""
        rerun.log("log", rerun.TextLog(text))


class FileView:
    """A place to look at later: `rerun FILE` opens it."""

    def __init__(self, path: Path) -> None:
        """Raises WorldAgenError when the file exists or cannot be written."""
        if path.exists():
            raise WorldAgenError(f"{path} exists; name another file, nothing is overwritten")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.recording = begin_recording()
        rerun.save(path)
        self.how = f"writes {path}; look at it with: rerun {path}"

    def close_when_told(self) -> None:
        """Finish the file."""
        self.close()

    def close(self) -> None:
        """Finish the file."""
        rerun.disconnect()


def begin_recording() -> rerun.RecordingStream:
    """What is logged from now on, by `rerun` and by what is returned."""
    rerun.init("worldagen")
    recording = rerun.get_global_data_recording()
    assert recording is not None
    return recording


def _serve(data_port: int, page_port: int) -> "subprocess.Popen[bytes]":
    """Start the page's server and wait until it listens. Raises WorldAgenError saying what is in the way."""
    for port in (data_port, page_port):
        if _listens(port):
            raise WorldAgenError(f"port {port} is taken; is another view open? Choose others with --port and --data-port")
    program = _program()
    try:
        server = subprocess.Popen(
            [program, "--serve-web", "--bind", "127.0.0.1", "--port", str(data_port), "--web-viewer-port", str(page_port)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=end_with_parent,
        )
    except OSError as error:
        raise WorldAgenError(f"cannot start the Rerun viewer ({error}); install rerun-sdk") from None
    deadline = time.monotonic() + START_S
    while not (_listens(data_port) and _listens(page_port)):
        if server.poll() is not None or time.monotonic() > deadline:
            server.kill()
            raise WorldAgenError(
                f"the Rerun viewer does not listen on ports {data_port} and {page_port}: {program} --serve-web"
            )
        time.sleep(0.05)
    return server


def _program() -> str:
    """The viewer itself: the `rerun` on the path is a Python program that would leave it behind when it is ended."""
    spec = importlib.util.find_spec("rerun_cli")
    beside = Path(spec.origin).parent / "rerun" if spec and spec.origin else None
    return str(beside) if beside and beside.is_file() else shutil.which("rerun") or "rerun"


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
