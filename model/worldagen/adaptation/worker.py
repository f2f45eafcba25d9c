"""An adaptation in a process of its own: `python -m worldagen.adaptation.worker REQUEST`, a request as JSON, lines of JSON out.

    {"progress": {"stage": "training", "done": 24, "of": 204, "loss": 0.1}}
    {"adapted": {...}} or {"refused": "in words"} or {"canceled": true}      the last line

It gives way to everything else on the machine. SIGTERM or SIGINT end it within one batch, and nothing is left behind.
"""

import json
import math
import os
import signal
import sys
import time
from dataclasses import asdict

from worldagen.child_processes import give_way

TOLD_EVERY_S = 0.2


class Canceled(Exception):
    """Asked to end."""


def main(argv: list[str]) -> int:
    """One request; returns the exit code: 0 done, 1 refused, 3 cancelled."""
    asked_to_end = begun = False

    def end(*_: object) -> None:
        nonlocal asked_to_end
        asked_to_end = True
        if not begun:  # importing torch takes longer than anybody wants to wait, and nothing is there yet
            _say({"canceled": True})
            os._exit(3)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    give_way()

    from worldagen.adaptation.request import AdaptationRequest, Progress
    from worldagen.adaptation.run import adapt
    from worldagen.errors import WorldAgenError

    tree = json.loads(argv[0])
    command = tree.pop("command", "adapt")
    request = AdaptationRequest(**{**tree, "further_checks": tuple(tree.get("further_checks", ()))})
    told_s, told_stage = 0.0, ""

    def tell(progress: Progress) -> None:
        nonlocal told_s, told_stage, begun
        begun = True
        if asked_to_end:
            raise Canceled
        now_s = time.monotonic()
        if now_s - told_s >= TOLD_EVERY_S or progress.stage != told_stage:
            told_s, told_stage = now_s, progress.stage
            loss = progress.loss if math.isfinite(progress.loss) else None
            _say({"progress": {**asdict(progress), "loss": loss}})

    try:
        adapted = adapt(request, tell, command)
    except Canceled:
        _say({"canceled": True})
        return 3
    except WorldAgenError as error:
        _say({"refused": str(error)})
        return 1
    except MemoryError:
        _say({"refused": "not enough memory; lower `batch` in the recipe, or explore fewer rollouts"})
        return 1
    except RuntimeError as error:  # torch's own way of saying so
        if "alloc" not in str(error).lower() and "out of memory" not in str(error).lower():
            raise
        _say({"refused": f"not enough memory ({error}); lower `batch` in the recipe, or explore fewer rollouts"})
        return 1
    _say({"adapted": asdict(adapted)})
    return 0


def _say(line: dict) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
