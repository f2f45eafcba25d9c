"""How long one decision takes with each engine of the encoder, against the plain evaluation and our own session on torch.

    python benchmarks/encoder_engines.py --preset calvin --threads 2 --decisions 10

All have the same weights, inputs and threads and take turns decision by decision, so that other load on the machine meets all.
Every session prepares ahead while the robot would move, which is not counted. Each engine is judged by the gate first, on drawn
frames or those of --frames; one that is refused is measured all the same and marked. Weights of presets are random unless
--checkpoint names some: times are the same, what the gate measures is not. Prints a table and writes it, with machine, date and
command, to benchmarks/results/encoder_engines_<preset>_<device>.json.
"""

import argparse
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import torch
from decision import INSTRUCTION, Clock, PlainEvaluation, random_observations, summarise
from record import write_result

from worldagen.checkpoint import find_checkpoint
from worldagen.engines.choosing import EngineShop, prepare_pictures
from worldagen.engines.config import PRECISIONS, EngineConfig, EngineLimits
from worldagen.engines.encoder import EncoderEngine, TorchEngine
from worldagen.engines.gate import Gate
from worldagen.engines.probe import make_probe
from worldagen.errors import EngineError
from worldagen.session import NetworkPolicy, load_policy, make_policy
from worldagen.types import Observation

RESULTS = Path(__file__).resolve().parent / "results"


def make_engines(args: argparse.Namespace, first: NetworkPolicy, folder: Path) -> tuple[list[EncoderEngine], dict[str, Any]]:
    """The engines this machine has, torch first, and what the gate says of each. What cannot be made is told."""
    probe = make_probe(args.frames, first.network.config.rows)
    frames = prepare_pictures(first.network, first.conventions, probe) if args.frames else None
    gate = Gate(first.network, first.conventions, probe, EngineLimits())
    engines: list[EncoderEngine] = [TorchEngine(first.network)]
    judged: dict[str, Any] = {}
    for kind in args.engines:
        for precision in args.precisions:
            config = EngineConfig(kind=kind, precision=precision, folder=str(folder))
            for name, make in EngineShop(first.network, config, args.threads, frames, print).offers(kind):
                try:
                    engine = make()
                    parity = gate.judge(engine)
                except EngineError as error:
                    print(f"not here: {name}: {error}")
                    continue
                if engine.name not in judged and engine.name != engines[0].name:
                    engines.append(engine)
                    judged[engine.name] = {**parity.as_json(), "refused": parity.refusals(gate.limits)}
    return engines, judged


class Sides:
    """The plain evaluation, and a session for each engine."""

    def __init__(self, first: NetworkPolicy, engines: list[EncoderEngine]) -> None:
        self.plain = PlainEvaluation(first.network, first.conventions, "aligned", INSTRUCTION)
        self.sessions = {engine.name: NetworkPolicy(first.network, first.conventions, encoder=engine) for engine in engines}
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.encode_s: dict[str, list[float]] = defaultdict(list)
        for session in self.sessions.values():
            session.reset(INSTRUCTION)

    def decide(self, observation: Observation, clock: Any) -> None:
        """One decision of everybody."""
        begin = clock()
        self.plain.imagine(self.plain.act([observation]))
        self.seconds["plain"].append(clock() - begin)
        for name, session in self.sessions.items():
            begin = clock()
            chunk = session.act(observation)
            self.seconds[name].append(clock() - begin)
            self.encode_s[name].append(chunk.encode_s)
            session.prepare()

    def forget_times(self) -> None:
        """What was measured so far was warming up."""
        self.seconds.clear()
        self.encode_s.clear()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="calvin", choices=("calvin", "libero", "playtable"))
    parser.add_argument("--checkpoint", default="", help="in the place of a preset's random weights")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--decisions", type=int, default=10, help="after a warm-up")
    parser.add_argument(
        "--engines", nargs="+", default=["onnxruntime", "tensorrt"], choices=("torch", "onnxruntime", "tensorrt")
    )
    parser.add_argument("--precisions", nargs="+", default=["fp32", "fp16", "int8"], choices=PRECISIONS)
    parser.add_argument(
        "--frames", nargs="*", type=Path, default=[], metavar="BAG", help="bags to calibrate on and to judge by"
    )
    parser.add_argument("--folder", type=Path, help="keep what is exported and built there; default: thrown away")
    args = parser.parse_args()

    if args.checkpoint:
        first = load_policy(find_checkpoint(args.checkpoint), args.threads)
    else:
        first = make_policy(args.preset, seed=0, threads=args.threads)
    first.network.to(args.device)
    with tempfile.TemporaryDirectory() as aside:
        engines, judged = make_engines(args, first, args.folder or Path(aside))
        sides = Sides(first, engines)
        warm_up = first.network.config.units + 1
        observations = random_observations(warm_up + args.decisions)
        for observation in observations[:warm_up]:
            sides.decide(observation, _clock(args.device))
        sides.forget_times()
        for observation in observations[warm_up:]:
            sides.decide(observation, _clock(args.device))
    faults = {name: session.encoder_fault for name, session in sides.sessions.items() if session.encoder_fault}
    if faults:
        raise SystemExit(f"an engine failed under way: {faults}")
    own = engines[0].name
    result = {
        "preset": args.checkpoint or args.preset,
        "device": args.device if args.device == "cpu" else torch.cuda.get_device_name(),
        "threads": args.threads,
        "decisions": args.decisions,
        "times_faster_than_plain": {name: _ratio(sides.seconds["plain"], sides.seconds[name]) for name in sides.sessions},
        "times_faster_than_torch": {name: _ratio(sides.seconds[own], sides.seconds[name]) for name in sides.sessions},
        "seconds": {name: summarise(many) for name, many in sides.seconds.items()},
        "encode_seconds": {name: summarise(many) for name, many in sides.encode_s.items()},
        "gate": judged,
    }
    show(result)
    write_result(RESULTS / f"encoder_engines_{result['preset'].replace('/', '_')}_{args.device}.json", result)


def _clock(device: str) -> Any:
    return Clock(device).now


def _ratio(slow: list[float], fast: list[float]) -> float:
    return median(slow) / median(fast)


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    print(f"\n{result['preset']}, {result['device']}, {result['threads']} threads, {result['decisions']} decisions")
    print(f"  {'':<28} p50 ms  p99 ms  encoder  x plain  x torch  gate")
    for name, times in result["seconds"].items():
        row = f"  {name:<28} {times['p50'] * 1e3:6.1f}  {times['p99'] * 1e3:6.1f}"
        if name in result["encode_seconds"]:
            row += f"  {result['encode_seconds'][name]['p50'] * 1e3:7.1f}"
            row += f"  {result['times_faster_than_plain'][name]:7.2f}  {result['times_faster_than_torch'][name]:7.2f}"
            judged = result["gate"].get(name)
            row += "  exact" if judged is None else f"  {'; '.join(judged['refused']) or 'passed'}"
        print(row)


if __name__ == "__main__":
    main()
