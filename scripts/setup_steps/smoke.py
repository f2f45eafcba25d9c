"""Step 6: does it work? One fresh process enters as any user would and makes, sends through CDR and reads one message."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from setup_steps import workspace
from setup_steps.command import run
from setup_steps.layout import Layout
from setup_steps.problem import Problem
from setup_steps.progress import Progress
from setup_steps.stamps import fingerprint

PROGRAM = Path(__file__).with_name("smoke_program.py")


class SmokeTest:
    name = "smoke test"

    def __init__(self, layout: Layout, environ: Mapping[str, str]) -> None:
        self.layout, self.environ = layout, environ
        self.stamp = layout.state / "smoke.json"
        self.log = layout.logs / "6-smoke-test.log"

    def fingerprint(self) -> str:
        """Other steps' stamps carry the time of their work, so any work at all calls for another test."""
        stamps = [self.layout.state / "packages.json", self.layout.workspace / "install" / ".worldagen-setup.json"]
        return fingerprint([PROGRAM.read_text(), *(stamp.read_text() for stamp in stamps)])

    def faults(self, record: dict[str, Any]) -> list[str]:
        return []

    def work(self, progress: Progress) -> None:
        enter = f'. "{self.layout.root}/scripts/activate" && exec python "$@"'
        ours = workspace.packages(self.layout.workspace / "src")
        kind = ["--jetson"] if self.layout.jetson else []
        started = time.monotonic()
        status = run(
            ["bash", "-c", enter, "smoke", str(PROGRAM), *kind, *ours],
            self.log,
            self.environ,
            cwd=self.layout.root,
            on_line=progress.note,
            on_tick=lambda: progress.note(f"importing everything once, {time.monotonic() - started:.0f} s"),
        )
        if status:
            raise Problem(f"the finished environment does not work: {last_line(self.log)} (all of it: {self.log})")

    def record(self) -> dict[str, Any]:
        return {}

    def summary(self) -> str:
        return "ready"


def last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it printed nothing"
