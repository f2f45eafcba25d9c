"""Start an adaptation beside whatever else this process does, hear how it goes, end it at any time."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from worldagen.adaptation.request import FRAMES, AdaptationRequest, Adapted, Progress
from worldagen.child_processes import end_with_parent
from worldagen.errors import AdaptationError

WORKER = "worldagen.adaptation.worker"
PATIENCE_S = 10.0


class AdaptationCanceled(AdaptationError):
    """It was asked to end, and nothing was written."""


class AdaptationProcess:
    """One run. `progress` is the newest that was told; `result` waits for the end."""

    def __init__(self, request: AdaptationRequest, command: str = "adapt") -> None:
        self.progress: Progress | None = None
        self._request, self._asked_to_end = request, False
        self._last: dict[str, Any] = {}
        self._errors: list[str] = []
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", WORKER, json.dumps({**asdict(request), "command": command})],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
            env=environment, start_new_session=True, preexec_fn=end_with_parent,
        )  # fmt: skip
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._hear, self._hear_errors)]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """Of the worker."""
        return self._process.pid

    @property
    def done(self) -> bool:
        """Whether it has ended, however."""
        return self._process.poll() is not None and not self._readers[0].is_alive()

    def cancel(self) -> None:
        """Ask it to end; it does so within one batch."""
        self._asked_to_end = True
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        """End it, by force where asking does not help."""
        self.cancel()
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._tidy()

    def result(self) -> Adapted:
        """What came of it, once it is done. Raises AdaptationCanceled, or AdaptationError in the worker's own words."""
        code = self._process.wait()
        for reader in self._readers:
            reader.join()
        self._tidy()
        if "adapted" in self._last:
            told = self._last["adapted"]
            return Adapted(**{**told, "reasons": tuple(told["reasons"])})
        if "refused" in self._last:
            raise AdaptationError(self._last["refused"])
        if "canceled" in self._last or (self._asked_to_end and code == -signal.SIGTERM):  # before it could even listen
            raise AdaptationCanceled("the adaptation was cancelled; nothing was written")
        if code < 0:
            raise AdaptationError(
                f"the adaptation was killed by {signal.Signals(-code).name}, for want of memory perhaps; nothing was written. "
                "Lower `batch` in the recipe, or explore fewer rollouts"
            )
        said = self._errors[-1] if self._errors else "it said nothing"
        raise AdaptationError(f"the adaptation ended with exit code {code}: {said}; nothing was written")

    def follow(self, every_s: float = 0.1) -> Iterator[Progress]:
        """Each new progress, until it has ended."""
        told = None
        while not self.done:
            if self.progress is not None and self.progress is not told:
                told = self.progress
                yield told
            time.sleep(every_s)

    def _tidy(self) -> None:
        """Remove what a worker could not, because it was killed: its decoded frames, and an adapter half written."""
        frames, adapters = Path(tempfile.gettempdir()), Path(self._request.out)
        for left in (*frames.glob(f"{FRAMES}{self.pid}-*"), *adapters.glob(f".*.{self.pid}")):
            shutil.rmtree(left, ignore_errors=True)

    def _hear(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                try:
                    told = json.loads(line)
                except ValueError:  # not ours: a library that prints
                    continue
                if "progress" in told:
                    now = told["progress"]
                    loss = float("nan") if now["loss"] is None else now["loss"]
                    self.progress = Progress(now["stage"], now["done"], now["of"], loss)
                else:
                    self._last = told

    def _hear_errors(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                self._errors = [*self._errors[-20:], line.rstrip()]
