"""Break things on a running stack, again and again, and look whether the arm comes to rest: docs/faults.md.

    worldagen faults --trials 5 --out out/faults
    worldagen faults --only "policy: SIGKILL,joint_states" --trials 20

It starts the deployment with the embedded simulator in real time, with a policy that drives, in a ROS domain of its own; puts a
relay between publishers and subscribers; lets the arm move; does one thing at a random moment; and judges what was commanded.
OUT gets faults.json, faults.md and the log of the nodes. Exit code 1 when a reaction was wrong.
"""

import argparse
import os
import shlex
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

from worldagen.errors import ConfigError
from worldagen_ros.specs import UDP_PROFILE
from worldagen_ros.stack import stack_environment

DOMAINS = range(60, 102)
SAVED_EVERY = 10  # trials
FIRST_PORT = 22100  # a bound port marks a domain as taken, as in the tests
HELP = "break things on a running stack, and judge how it reacts"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trials", type=int, default=5, metavar="N", help="of each fault (default: 5)")
    parser.add_argument(
        "--costly-trials", type=int, default=0, metavar="N", help="of faults after which something is started anew (default: N)"
    )
    parser.add_argument("--only", default="", metavar="NAME,...", help="faults whose names begin so (default: all)")
    parser.add_argument("--list", action="store_true", help="name the faults, and end")
    parser.add_argument("--seed", type=int, default=0, help="of order and moments (default: 0)")
    parser.add_argument("--out", type=Path, default=None, metavar="DIR", help="where results go (default: a new folder, named)")
    parser.add_argument("--deployment", default="sim_realtime", help="name or YAML file (default: sim_realtime)")
    parser.add_argument("--patient", action="store_true", help="longer ages and gaps, for a machine that cannot keep time")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. sim.renderer=raycast")
    parser.add_argument(
        "--domain", type=int, default=None, help="ROS domain (default: one that no other run of this command uses)"
    )
    parser.add_argument("--minutes", type=float, default=1440.0, help="after which no trial begins any more (default: a day)")
    parser.add_argument("--remark", default="", help="a sentence that the results carry, about the machine")


def run(args: argparse.Namespace) -> int:
    from worldagen_ros.faults.campaign import PATIENT, chosen
    from worldagen_ros.overrides import parse_overrides

    only = [name.strip() for name in args.only.split(",") if name.strip()]
    faults = chosen(only)
    if args.list:
        for fault in faults:
            print(f"{fault.name:<36} {' or '.join(fault.expected.reaches):<20} {fault.says}")
        return 0
    overrides = {**(PATIENT if args.patient else {}), **parse_overrides(args.set)}
    taken, domain = free_domain() if args.domain is None else (None, args.domain)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # tidies up, as Ctrl-C does
    # Without shared memory: a node that is killed would keep the relay waiting.
    os.environ.update(stack_environment(os.environ, domain, UDP_PROFILE))
    # Imported here: what is wrong with the request is said before.
    from worldagen_ros.faults.campaign import Campaign, Trial
    from worldagen_ros.faults.report import write_report

    folder = args.out or Path(tempfile.mkdtemp(prefix="worldagen-faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    count, begun_s = 0, time.monotonic()

    def save() -> int:
        told = shlex.join(["worldagen", *sys.argv[1:]])
        return write_report(folder, campaign, told, time.monotonic() - begun_s, args.remark)

    def tell(trial: Trial) -> None:
        nonlocal count
        count += 1
        verdict = trial.verdict
        told = "as expected" if verdict.passed else f"WRONG: {'; '.join(verdict.problems)}"
        safe = "" if verdict.safe_s is None else f", safe after {verdict.safe_s * 1e3:.0f} ms"
        if count % SAVED_EVERY == 0:
            save()
        print(f"{count:4d} {trial.fault.name}: {' '.join(verdict.states)}{safe}: {told}", flush=True)

    campaign = Campaign(args.deployment, overrides, folder, domain, args.seed, args.minutes, tell)
    try:
        campaign.run(faults, args.trials, args.costly_trials or args.trials)
    finally:
        wrong = save()
        if taken is not None:
            taken.close()
    print(f"{count} trials, {wrong} wrong, {len(campaign.failures)} not made; written: {folder}/faults.json and faults.md")
    return 1 if wrong or campaign.failures else 0


def free_domain() -> tuple[socket.socket, int]:
    """A ROS domain of the ones this command uses, and the socket that says it is taken. Raises ConfigError."""
    for domain in DOMAINS:
        lock = socket.socket()
        try:
            lock.bind(("127.0.0.1", FIRST_PORT + domain))
        except OSError:
            lock.close()
            continue
        return lock, domain
    raise ConfigError(f"other runs use the ROS domains {DOMAINS[0]} to {DOMAINS[-1]}; wait for one to end, or give --domain")
