"""A live view in the Rerun viewer: a window where there is a display, else a page to open from another machine.

The page and its data port listen on the loopback interface only.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import numpy as np
import rerun

from worldagen.errors import WorldAgenError

DATA_PORT, PAGE_PORT = 9876, 9090


class LiveView:
    """Shows pictures and numbers as they come. `how` says how to look at it."""

    def __init__(self, data_port: int = DATA_PORT, page_port: int = PAGE_PORT) -> None:
        self._server: subprocess.Popen[bytes] | None = None
        rerun.init("worldagen")
        if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
            rerun.spawn(port=data_port)
            self.how = "the Rerun viewer has opened"
            return
        program = shutil.which("rerun") or str(Path(sys.executable).parent / "rerun")
        try:
            self._server = subprocess.Popen(
                [program, "--serve-web", "--bind", "127.0.0.1", "--port", str(data_port), "--web-viewer-port", str(page_port)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            raise WorldAgenError(f"cannot start the Rerun viewer ({error}); install rerun-sdk or leave --view out") from None
        address = f"rerun+http://127.0.0.1:{data_port}/proxy"
        page = f"http://127.0.0.1:{page_port}/?url={quote(address, safe='')}"
        rerun.connect_grpc(address)
        self.how = (
            f"no display here; open {page}\n"
            f"from another machine, first: ssh -L {page_port}:127.0.0.1:{page_port} -L {data_port}:127.0.0.1:{data_port} HOST"
        )

    def pictures(self, static: np.ndarray, wrist: np.ndarray, seconds: float) -> None:
        """(H, W, 3) uint8 of one instant."""
        rerun.set_time("time", duration=seconds)
        rerun.log("static_camera", rerun.Image(static))
        rerun.log("wrist_camera", rerun.Image(wrist))

    def tell(self, text: str) -> None:
        """A line in the viewer's log."""
        rerun.log("log", rerun.TextLog(text))

    def close_when_told(self) -> None:
        """Keep the page up until Ctrl-C, so that whoever comes late sees everything; a window stays by itself."""
        rerun.get_global_data_recording().flush()  # type: ignore[union-attr] - rerun.init made one
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
