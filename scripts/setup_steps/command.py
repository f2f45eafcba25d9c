"""Run one command with its output in a log file, and follow that file while it grows.

The command writes to the file itself and never to a pipe of ours, so that killing the set-up cannot leave a
half-finished command behind that dies later, at its next line of output.
"""

import ctypes
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

POLL_S = 0.2
PR_SET_PDEATHSIG = 1


def run(
    command: Sequence[str],
    log: Path,
    environ: Mapping[str, str],
    cwd: Path | None = None,
    on_line: Callable[[str], None] = lambda line: None,
    on_tick: Callable[[], None] = lambda: None,
    keep: Sequence[int] = (),
    dies_with_us: bool = True,
) -> int:
    """Return the exit status. ``on_line`` gets each line of output, ``on_tick`` is called five times a second.

    A command that starts processes of its own cannot simply die with us (they would live on), so it is given the
    lock's file descriptor in ``keep`` instead: the next set-up waits until it has ended.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink, log.open("rb") as source:
        sink.write(f"\n$ {' '.join(command)}\n".encode())
        sink.flush()
        source.seek(0, 2)
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            cwd=cwd,
            env=dict(environ),
            pass_fds=tuple(keep),
            preexec_fn=_die_with_parent if dies_with_us else None,
        )
        try:
            pending = b""
            while True:
                running = child.poll() is None
                pending += source.read()
                *lines, pending = pending.split(b"\n")
                for line in lines:
                    on_line(line.decode(errors="replace").rstrip())
                if not running:
                    return child.returncode
                on_tick()
                time.sleep(POLL_S)
        except BaseException:
            child.send_signal(signal.SIGINT)
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            raise


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
