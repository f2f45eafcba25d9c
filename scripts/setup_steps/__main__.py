"""The set-up: six steps in a fixed order, then the simulators asked for; each leaves alone what is already right."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the folder itself is there; as a package its modules have names
    from setup_steps.run import main

    sys.exit(main(sys.argv[1:]))
