"""Which engine runs the encoder of a policy here: what was asked for, or the fastest that passes the gate; else torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from worldagen.engines.config import PRECISIONS, EngineConfig, Precision
from worldagen.engines.encoder import TYPES, EncoderEngine, TorchEngine
from worldagen.engines.exported import Frames, find_or_export
from worldagen.engines.files import engine_folder, private_folder
from worldagen.engines.gate import Gate, Parity, time_engines
from worldagen.engines.onnx_runtime import PRECISIONS as ONNXRUNTIME_PRECISIONS
from worldagen.engines.onnx_runtime import OnnxruntimeEngine, available_providers
from worldagen.engines.parts import encoder_digest
from worldagen.engines.probe import Probe, make_probe
from worldagen.engines.tensorrt_build import Gpu, find_or_build, import_tensorrt, look_at_gpu, require_precision
from worldagen.engines.tensorrt_engine import TensorrtEngine
from worldagen.errors import EngineError, WorldAgenError
from worldagen.network.worldagen import WorldAgen
from worldagen.policy_conventions import PolicyConventions
from worldagen.preprocess import scale_image

ROUNDS = 5  # encodings by which auto compares
WORTH_IT = 1.1  # auto leaves torch only for what is faster by this; less is lost in the noise of a shared machine
TENSORRT_PRECISIONS: tuple[Precision, ...] = ("fp8", "int8", "fp16", "bf16", "fp32")  # the fastest first
CALIBRATED = ("int8", "fp8")  # those that TensorRT needs frames for
Say = Callable[[str], None]
Maker = Callable[[], EncoderEngine]


@dataclass(frozen=True, eq=False)
class Choice:
    """The engine that runs. figures: what it changes and how fast it is, in words. refused: what was tried and why not."""

    engine: EncoderEngine
    figures: str
    parity: Parity | None = None
    refused: list[str] = field(default_factory=list)
    gate: Gate | None = None  # by which it was judged, where anything was

    @property
    def encoder(self) -> EncoderEngine | None:
        """What a policy is given: None for torch as it is, which is the network itself."""
        return None if self.parity is None else self.engine

    def __str__(self) -> str:
        return f"{self.engine.name} ({self.figures})"


class EngineShop:
    """Makes engines of one network: exports, builds, opens. Files go to a folder of that encoder's digest."""

    def __init__(self, network: WorldAgen, config: EngineConfig, threads: int, frames: Frames | None, say: Say) -> None:
        """frames: to calibrate on; None where no bag was given."""
        self._network, self._config, self._threads, self._frames, self._say = network, config, threads, frames, say
        self.device = network.position.device

    def offers(self, kind: str) -> list[tuple[str, Maker]]:
        """What may be tried of a kind, the most promising first: its name, and what makes it."""
        return {"torch": self._torch, "onnxruntime": self._onnxruntime, "tensorrt": self._tensorrt}[kind]()

    def _wanted(self, usable: Sequence[Precision]) -> list[Precision]:
        """The precisions to try. Asked for by name, one is tried also where it will be refused, so that the reason is told."""
        asked = self._config.precision
        return [one for one in (usable if asked == "any" else PRECISIONS) if asked in ("any", one)]

    def _torch(self) -> list[tuple[str, Maker]]:
        asked = self._config.precision
        precision: Precision = "fp32" if asked == "any" else next(one for one in PRECISIONS if one == asked)
        return [(f"torch {precision}", partial(TorchEngine, self._network, precision, self._config.compile))]

    def _onnxruntime(self) -> list[tuple[str, Maker]]:
        try:
            providers = [name for name in available_providers() if name == "CPU" or torch.cuda.is_available()]
        except EngineError as error:
            return [("onnxruntime", partial(_refuse, error))]
        return [
            (f"onnxruntime {precision} on {provider}", partial(self._open_onnx, precision, provider))
            for provider in providers
            for precision in self._wanted(ONNXRUNTIME_PRECISIONS[provider])
        ]

    def _tensorrt(self) -> list[tuple[str, Maker]]:
        try:
            trt, gpu = import_tensorrt(), look_at_gpu()
        except EngineError as error:
            return [("tensorrt", partial(_refuse, error))]
        offers = []
        for precision in self._wanted(TENSORRT_PRECISIONS):
            try:
                require_precision(trt, gpu, precision)
                offers.append((f"tensorrt {precision}", partial(self._open_plan, trt, gpu, precision)))
            except EngineError as error:
                if self._config.precision != "any":
                    offers.append((f"tensorrt {precision}", partial(_refuse, error)))
        return offers

    def _open_onnx(self, precision: Precision, provider: str) -> EncoderEngine:
        if precision not in ONNXRUNTIME_PRECISIONS[provider]:
            raise EngineError(
                f"onnxruntime does not run {precision} on {provider}; its choices there: "
                f"{', '.join(ONNXRUNTIME_PRECISIONS[provider])}"
            )
        exported = find_or_export(self.folder(), self._network, precision)
        return OnnxruntimeEngine(exported, self._threads, provider)

    def _open_plan(self, trt: Any, gpu: Gpu, precision: Precision) -> EncoderEngine:
        if precision in CALIBRATED and self._frames is None:
            raise EngineError(f"tensorrt {precision} needs calibration frames; give a bag with engine.frames")
        exported = find_or_export(self.folder(), self._network, precision, self._frames if precision in CALIBRATED else None)
        plan = find_or_build(trt, gpu, self.folder(), exported, self._config.workspace_mib, self._say)
        device = self.device if self.device.type == "cuda" else torch.device("cuda")
        return TensorrtEngine(trt, plan, device)

    def folder(self) -> Path:
        """Where the files of this encoder are."""
        root = private_folder(engine_folder(self._config.folder))
        return private_folder(root / encoder_digest(self._network)[:16])


def choose_engine(
    network: WorldAgen, conventions: PolicyConventions, config: EngineConfig, threads: int, say: Say = lambda _: None
) -> Choice:
    """The engine that runs a network's encoder on this machine. say: hears of progress and of every refusal.

    Whatever is refused, torch is left, which is exact: this raises EngineError only for frames that cannot be read, and for a
    precision that torch was asked for and does not have.
    """
    exact = TorchEngine(network)
    if config.kind == "torch" and config.precision in ("any", "fp32") and not config.compile:
        return Choice(exact, "exact")
    probe = make_configured_probe(network, config)
    pictures = prepare_pictures(network, conventions, probe)
    shop = EngineShop(network, config, threads, pictures if config.frames else None, say)
    kinds = ("tensorrt", "onnxruntime", "torch") if config.kind == "auto" else (config.kind,)
    if config.kind == "torch" and config.precision not in ("any", *TYPES):
        raise EngineError(f"torch computes in {', '.join(TYPES)}, not in {config.precision}; choose another engine.kind for it")
    gate = Gate(network, conventions, probe, config.limits)
    passed, refused = _try_all(shop, kinds, gate, only_first=config.kind != "auto", say=say)
    if not passed:
        say(f"no engine of {config.kind} {config.precision} can be used here; torch computes the encoder")
        return Choice(exact, f"exact; {len(refused)} refused", refused=refused, gate=gate)
    engines = [engine for engine, _ in passed]
    *seconds, torch_s = time_engines([*engines, exact], pictures[0], ROUNDS)
    fastest = min(range(len(engines)), key=lambda place: seconds[place])
    for engine, spent in zip([*engines, exact], [*seconds, torch_s], strict=True):
        say(f"{engine.name}: {spent * 1e3:.1f} ms a frame")
    if config.kind == "auto" and seconds[fastest] * WORTH_IT > torch_s:
        return Choice(exact, f"exact, {torch_s * 1e3:.1f} ms a frame; nothing is faster here", None, refused, gate)
    engine, parity = passed[fastest]
    speed = f"{seconds[fastest] * 1e3:.1f} ms a frame, torch {torch_s * 1e3:.1f} ms"
    return Choice(engine, f"{speed}; {parity.told()}", parity, refused, gate)


def make_configured_probe(network: WorldAgen, config: EngineConfig) -> Probe:
    """Of the deployment's frames, or drawn. Raises EngineError for frames that cannot be read."""
    return make_probe([Path(config.frames)] if config.frames else [], network.config.rows)


def _try_all(
    shop: EngineShop, kinds: tuple[str, ...], gate: Gate, only_first: bool, say: Say
) -> tuple[list[tuple[EncoderEngine, Parity]], list[str]]:
    """Those that pass, with their figures, and why the others do not. only_first: stop at the first that passes."""
    passed, refused = [], []
    for kind in kinds:
        for name, make in shop.offers(kind):
            try:
                engine = make()
                passed.append((engine, gate.admit(engine)))
            except (WorldAgenError, MemoryError) as error:
                refused.append(f"{name}: {error or 'out of memory'}")
                say(f"refused: {refused[-1]}")
                continue
            if only_first:
                return passed, refused
    return passed, refused


def prepare_pictures(
    network: WorldAgen, conventions: PolicyConventions, probe: Probe
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Every frame of a probe as the network sees it: static, wrist, each (1, 3, H, H)."""
    sizes, position = network.config.vision, network.position
    return [
        (
            torch.from_numpy(scale_image(conventions.image, seen.static_image, sizes.static_size))[None].to(position),
            torch.from_numpy(scale_image(conventions.image, seen.wrist_image, sizes.wrist_size))[None].to(position),
        )
        for _, observations in probe.runs
        for seen in observations
    ]


def _refuse(error: EngineError) -> EncoderEngine:
    raise error
