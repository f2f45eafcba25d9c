"""What one decision costs in arithmetic and memory, and what that lets one expect of a Jetson Orin.

    python benchmarks/operations.py                                              # counts: CPU only, a minute
    python benchmarks/operations.py --show benchmarks/results/operations.json    # the tables of docs/jetson.md again

Counted, not timed: operations by torch's FlopCounterMode (a multiply-add is two), weights by their sizes, live activations by
following every tensor from its making to its end. The latencies are estimates: operations / (peak x a range of efficiency), and
never below the time in which the weights can be read from memory once.
"""

import argparse
import json
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from record import write_result

RESULT = Path(__file__).resolve().parent / "results" / "operations.json"
PRESETS = ("calvin", "libero", "playtable")
PARTS = ("vision", "resampler", "text", "backbone", "image_head")
FP16_BYTES = 2
FLOP_PER_CYCLE = 2048  # of one SM, dense fp16: 4 tensor cores x 256 multiply-adds; a quarter of the sparse INT8 of data sheets
EFFICIENCY = (0.15, 0.45)  # assumed: what engines reach of the peak with a batch of two pictures
# Below this an engine waits for its kernels to start, not for their sums, and the estimate says nothing.
LEAST_GFLOP = 5.0


@dataclass(frozen=True)
class Mode:
    """A module in one of its power modes. sms, mhz: of the GPU. gb_per_s: of the memory."""

    module: str
    mode: str
    sms: int
    mhz: float
    gb_per_s: float

    @property
    def peak_tflops(self) -> float:
        """Dense fp16."""
        return self.sms * self.mhz * 1e6 * FLOP_PER_CYCLE / 1e12


# Clocks and switched-off SMs: the power mode tables of Jetson Linux 36.4 (nvpmodel); memory: NVIDIA's data sheets.
MODES = (
    Mode("Orin Nano 8 GB", "15W", 8, 612, 68.3),
    Mode("Orin Nano 8 GB", "25W", 8, 918, 102.4),
    Mode("Orin Nano 8 GB", "MAXN_SUPER", 8, 1020, 102.4),
    Mode("Orin NX 8 and 16 GB", "15W", 4, 612, 102.4),
    Mode("Orin NX 16 GB", "25W", 8, 408, 102.4),
    Mode("Orin NX 8 and 16 GB", "40W", 8, 1173, 102.4),
    Mode("AGX Orin 32 GB", "40W", 14, 816, 204.8),
    Mode("AGX Orin 64 GB", "MAXN", 16, 1300, 204.8),
)


def count_preset(preset: str) -> dict[str, Any]:
    """Operations, operator calls and live memory of one decision with a full window."""
    from decision import INSTRUCTION, random_observations

    from worldagen.session import make_policy

    policy = make_policy(preset, seed=0, threads=1)
    policy.network.requires_grad_(False)  # torch's counter asks tensors that want gradients for their graph
    units = policy.network.config.units
    *before, last = random_observations(units + 2)
    stages: dict[str, Callable[[], Any]] = {}
    policy.reset(INSTRUCTION)
    for observation in before[:-1]:
        policy.act(observation)
    stages["decision"] = lambda: policy.act(before[-1])
    stages["world prediction"] = policy.predict_pixels
    stages["preparing the next"] = policy.prepare
    stages["decision, prepared"] = lambda: policy.act(last)
    stages["a new instruction"] = lambda: policy.reset("another one, which is not kept yet")
    weights = {name: parameters(getattr(policy.network, name)) for name in PARTS}
    weights["everything else"] = parameters(policy.network) - sum(weights.values())
    counted = {name: count(policy.network, work) for name, work in stages.items()}
    return {"weights": weights, "stages": counted}


def parameters(module: Any) -> int:
    """How many numbers its weights and tables are."""
    return sum(tensor.numel() for tensor in [*module.parameters(), *module.buffers()])


def count(network: Any, work: Callable[[], Any]) -> dict[str, Any]:
    """{"gflop", "parts": part -> GFLOP, "calls": of operators, "live_mb": peak of activations in fp32}."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

    # torch's counter knows the attention of GPUs and not that of CPUs, and what it does not know counts nothing.
    attention = {
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    }
    counter, hooks = FlopCounterMode(display=False, custom_mapping=attention), []
    parts: dict[str, float] = dict.fromkeys(PARTS, 0.0)
    for name in PARTS:
        hooks += watch(getattr(network, name), name, parts, counter.get_total_flops)
    with follower()() as live, counter:
        work()
    for hook in hooks:
        hook.remove()
    gflop = {name: flop / 1e9 for name, flop in parts.items()}
    return {"gflop": counter.get_total_flops() / 1e9, "parts": gflop, "calls": live.calls, "live_mb": live.peak / 1e6}


def watch(module: Any, name: str, parts: dict[str, float], total: Callable[[], int]) -> list[Any]:
    """Add the operations of every call of a module to its part; returns the hooks."""
    begins: list[int] = []
    return [
        module.register_forward_pre_hook(lambda *_: begins.append(total())),
        module.register_forward_hook(lambda *_: parts.__setitem__(name, parts[name] + total() - begins.pop())),
    ]


def follower() -> Any:
    """The mode that follows tensors from their making to their end (torch is imported where it is needed only)."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Follower(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.calls = self.live = self.peak = 0
            self.known: set[int] = set()

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.calls += 1
            old = {
                tensor.untyped_storage().data_ptr()
                for tensor in tree_leaves((args, kwargs))
                if isinstance(tensor, torch.Tensor)
            }
            made = function(*args, **(kwargs or {}))
            for tensor in tree_leaves(made):
                if isinstance(tensor, torch.Tensor):
                    self.follow(tensor.untyped_storage(), old)
            return made

        def follow(self, storage: Any, old: set[int]) -> None:
            """Count a storage that is new until nobody holds it; views and results in place are not new."""
            place, size = storage.data_ptr(), storage.nbytes()
            if not size or place in old or place in self.known:
                return
            self.known.add(place)
            self.live += size
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self.forget, place, size)

        def forget(self, place: int, size: int) -> None:
            self.known.discard(place)
            self.live -= size

    return Follower


def resident_mib() -> float:
    """Memory of this process, MiB."""
    line = next(line for line in Path("/proc/self/status").read_text("ascii").splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def estimate(mode: Mode, gflop: float, weights: int) -> tuple[float, float]:
    """From best to worst, ms: by operations and the range of efficiency, not below one reading of the fp16 weights."""
    floor_ms = weights * FP16_BYTES / mode.gb_per_s / 1e6
    best, worst = (gflop / (mode.peak_tflops * share) for share in reversed(EFFICIENCY))
    return max(best, floor_ms), max(worst, floor_ms)


def show(result: dict[str, Any]) -> None:
    """Print the tables as the page holds them."""
    print(
        "| preset | weights, M | of it text encoder | in fp16, MB | live activations in fp16, MB | operator calls, a decision |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for preset, counted in result["presets"].items():
        weights, stages = counted["weights"], counted["stages"]
        whole = sum(weights.values())
        live = max(stage["live_mb"] for stage in stages.values()) * FP16_BYTES / 4
        print(
            f"| {preset} | {whole / 1e6:.1f} | {weights['text'] / 1e6:.1f} | {whole * FP16_BYTES / 1e6:.0f} | {live:.0f} "
            f"| {stages['decision']['calls']} |"
        )
    print("\n| GFLOP | picture encoder | resampler | text | backbone | image head | in all |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for preset, counted in result["presets"].items():
        for name, stage in counted["stages"].items():
            parts = " | ".join(f"{stage['parts'][part]:.2f}" for part in PARTS)
            print(f"| {preset}: {name} | {parts} | {stage['gflop']:.2f} |")
    named = [preset for preset in result["presets"] if decision_gflop(result, preset) >= LEAST_GFLOP]
    print(f"\n| module | mode | SMs x MHz | dense fp16 peak, TFLOP/s | {' | '.join(f'{preset}, ms' for preset in named)} |")
    print(f"| --- | --- | --- | --- |{' --- |' * len(named)}")
    for mode in MODES:
        cells = []
        for preset in named:
            weights = result["presets"][preset]["weights"]
            best, worst = estimate(mode, decision_gflop(result, preset), sum(weights.values()) - weights["text"])
            cells.append(f"{best:.0f} to {worst:.0f}")
        print(f"| {mode.module} | {mode.mode} | {mode.sms} x {mode.mhz:.0f} | {mode.peak_tflops:.1f} | {' | '.join(cells)} |")


def decision_gflop(result: dict[str, Any], preset: str) -> float:
    """Of one decision and one world prediction."""
    stages = result["presets"][preset]["stages"]
    return stages["decision"]["gflop"] + stages["world prediction"]["gflop"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", type=Path, help="print the tables of a result that is there")
    args = parser.parse_args()
    if args.show:
        show(json.loads(args.show.read_text("utf-8")))
        return
    import worldagen.session  # noqa: F401, with torch and all that a policy process needs

    result: dict[str, Any] = {"imports_mib": resident_mib(), "presets": {preset: count_preset(preset) for preset in PRESETS}}
    show(result)
    write_result(RESULT, result)


if __name__ == "__main__":
    main()
