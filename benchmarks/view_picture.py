"""Draw what `worldagen view --bag BAG --web` shows, in a Chromium without a window: docs/pictures/view.png.

    python benchmarks/view_picture.py BAG --out docs/pictures/view.png

Draws in software (SwiftShader), so it needs no GPU, and talks to Chromium through a pipe. The page reaches this machine only.
"""

import argparse
import base64
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--no-first-run", "--disable-extensions", "--mute-audio", "--disable-dev-shm-usage"),
    *("--disable-gpu", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
    *("--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--remote-debugging-pipe",
)
NOWHERE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"  # the viewer asks for a font and counts its users
COLOURS = 3000  # a page with pictures has more; an empty viewer has some hundred
LOOK_S = 1.0
LAUNCH = (  # Chromium reads from descriptor 3 and writes to 4: ours are moved there, by way of some above both
    "import fcntl, os, sys; held = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]; "
    "os.dup2(held[0], 3); os.dup2(held[1], 4); os.execv(sys.argv[3], sys.argv[3:])"
)
VIEW = (  # `worldagen view`
    "import argparse, sys; from worldagen_ros.commands import view; parser = argparse.ArgumentParser(); "
    "view.add_arguments(parser); sys.exit(view.run(parser.parse_args()))"
)


class BrowserError(RuntimeError):
    """Chromium is missing, ended, or did not answer."""


class NoAnswer(BrowserError):
    """It cannot do what was asked, now."""


def find_chromium() -> str | None:
    """The path of a Chromium; None where there is none."""
    return next((path for name in CHROMIUMS if (path := shutil.which(name))), None)


class Browser:
    """One page of a headless Chromium, spoken to in the DevTools protocol: JSON between zero bytes, on two pipes."""

    def __init__(self, size: tuple[int, int]) -> None:
        """size: width and height of the page, pixels. Raises BrowserError."""
        chromium = find_chromium()
        if chromium is None:
            raise BrowserError("needs Chromium: apt install chromium")
        self._profile = tempfile.TemporaryDirectory(prefix="worldagen-page-", ignore_cleanup_errors=True)
        command = [chromium, *FLAGS, NOWHERE, f"--user-data-dir={self._profile.name}", "about:blank"]
        theirs, self._to = os.pipe()
        self._from, answers = os.pipe()
        launch = [sys.executable, "-c", LAUNCH, str(theirs), str(answers), *command]
        self._process = subprocess.Popen(
            launch, pass_fds=(theirs, answers), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(theirs)
        os.close(answers)
        self._count, self._rest, self._session = 0, b"", ""
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        self.call("Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=False)

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self._session = ""
        try:
            self.call("Browser.close")
            self._process.wait(timeout=10)
        except (BrowserError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._to)
        os.close(self._from)
        self._profile.cleanup()

    def open(self, url: str) -> None:
        """Go to a page; it goes on loading after this returns."""
        self.call("Page.navigate", url=url)

    def picture(self) -> np.ndarray:
        """(H, W, 3) uint8, what the page shows now."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask and wait for the answer. Raises BrowserError."""
        self._count += 1
        request = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            request["sessionId"] = self._session
        try:
            os.write(self._to, json.dumps(request).encode() + b"\0")
        except BrokenPipeError:
            raise BrowserError(f"Chromium ended before {method}") from None
        while True:
            answer = json.loads(self._next())
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise NoAnswer(f"{method}: {answer['error']}")
                return answer["result"]

    def _next(self) -> bytes:
        while b"\0" not in self._rest:
            data = os.read(self._from, 1 << 20)
            if not data:
                raise BrowserError("Chromium ended")
            self._rest += data
        message, self._rest = self._rest.split(b"\0", 1)
        return message


def at_rest(now: np.ndarray, before: np.ndarray) -> bool:
    """Whether a page has pictures in it and stands still."""
    return np.array_equal(now, before) and len(np.unique(now.reshape(-1, 3), axis=0)) > COLOURS


def show(
    bag: Path,
    size: tuple[int, int],
    patience_s: float,
    ports: tuple[int, int],
    done: Callable[[np.ndarray, np.ndarray], bool] = at_rest,
) -> np.ndarray:
    """(H, W, 3) the page of a bag, as soon as it is done, a question to two pictures in turn. Raises BrowserError."""
    command = [sys.executable, "-c", VIEW, "--bag", str(bag), "--web"]
    command += ["--port", str(ports[0]), "--data-port", str(ports[1])]
    viewer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        page = _page_of(viewer)
        with Browser(size) as browser:
            browser.open(f"{page}&renderer=webgl")
            deadline, before = time.monotonic() + patience_s, np.zeros(0)
            while time.monotonic() < deadline:
                time.sleep(LOOK_S)
                try:
                    now = browser.picture()
                except NoAnswer:  # while it goes from one page to the next
                    continue
                if done(now, before):
                    return now
                before = now
        raise BrowserError(f"the page did not show the pictures of {bag} and come to rest within {patience_s:g} s")
    finally:
        viewer.terminate()
        viewer.wait()


def _page_of(viewer: "subprocess.Popen[str]") -> str:
    """The page's address; waits until the whole bag is in the viewer."""
    assert viewer.stdout is not None
    page = ""
    for line in viewer.stdout:
        if line.startswith("open "):
            page = line.split()[1]
        if line.startswith("the page stays"):
            return page
    raise BrowserError("`worldagen view` ended; its error stands above")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bag", type=Path, help="what is shown, at its end")
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    parser.add_argument("--size", type=int, nargs=2, default=(1600, 1000), metavar=("WIDTH", "HEIGHT"), help="pixels")
    parser.add_argument("--patience", type=float, default=180.0, help="seconds until it gives up")
    parser.add_argument("--ports", type=int, nargs=2, default=(9191, 9877), metavar=("PAGE", "DATA"), help="to use meanwhile")
    args = parser.parse_args()
    try:
        picture = show(args.bag, tuple(args.size), args.patience, tuple(args.ports))
    except BrowserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    args.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).quantize(256, dither=Image.Dither.NONE).save(args.out, optimize=True)
    print(f"{args.out}: {args.out.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
