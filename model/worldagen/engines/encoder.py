"""The protocol of encoder engines, and torch itself as one of them.

Legend: B frames, H side of a picture, q latents of a view, D token width, V width of a pooled output.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch

from worldagen.engines.config import Precision
from worldagen.engines.parts import pooled_modules
from worldagen.errors import EngineError
from worldagen.network.worldagen import WorldAgen

TYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True, eq=False)
class Encoded:
    """A batch of frames. latents: (B, 2 q, D), cls: (B, 2, D), static view first, as WorldAgen.encode_frames gives them.

    pooled: name -> (B, 2, V), mean over the patch tokens of a depth of the vision encoder; see parts.pooled_modules.
    """

    latents: torch.Tensor
    cls: torch.Tensor
    pooled: Mapping[str, torch.Tensor]


class EncoderEngine(Protocol):
    """Runs the encoder of one network whose weights stand still. Belongs to the thread that owns the policy.

    name: what it is, in words, such as "onnxruntime int8 on CPU".
    """

    name: str

    def encode(self, static: torch.Tensor, wrist: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalised pictures (B, 3, H, H) of each view -> latents and cls, on the pictures' device. Raises EngineError."""
        ...

    def encode_all(self, static: torch.Tensor, wrist: torch.Tensor) -> Encoded:
        """The same with the pooled outputs. Raises EngineError."""
        ...


class TorchEngine:
    """The network's own encoder: as it is, compiled, or in a lower precision by autocast."""

    def __init__(self, network: WorldAgen, precision: Precision = "fp32", compiled: bool = False) -> None:
        """Compiling happens with the first frame. Raises EngineError for a precision that torch does not compute in."""
        if precision not in TYPES:
            raise EngineError(f"torch computes the encoder in {', '.join(TYPES)}; {precision} needs onnxruntime or tensorrt")
        self.name = f"torch {precision}" + (" compiled" if compiled else "")
        self._network, self._type = network, TYPES[precision]
        self._encode = torch.compile(network.encode_frames) if compiled else network.encode_frames
        self._compiled = compiled

    def encode(self, static: torch.Tensor, wrist: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        try:
            with torch.autocast(static.device.type, self._type, enabled=self._type is not torch.float32):
                latents, cls = self._encode(static, wrist)
        except torch.cuda.OutOfMemoryError as error:
            raise EngineError(f"{self.name}: out of GPU memory ({_first_line(error)}); free some or choose the CPU") from None
        except Exception as error:
            if not self._compiled:
                raise
            # A compiler says what it likes; without it the same network still runs.
            raise EngineError(
                f"{self.name}: cannot be compiled here ({_first_line(error)}); choose engine.compile=false"
            ) from None
        return latents.to(static.dtype), cls.to(static.dtype)

    def encode_all(self, static: torch.Tensor, wrist: torch.Tensor) -> Encoded:
        means: dict[str, list[torch.Tensor]] = {name: [] for name in pooled_modules(self._network)}

        def look(name: str, _: torch.nn.Module, __: object, output: torch.Tensor) -> None:
            means[name].append(_mean(output))

        hooks = [module.register_forward_hook(partial(look, name)) for name, module in pooled_modules(self._network).items()]
        try:
            latents, cls = self._network.encode_frames(static, wrist)
        finally:
            for hook in hooks:
                hook.remove()
        return Encoded(latents, cls, {name: _pool(torch.cat(parts)) for name, parts in means.items()})


def _mean(output: torch.Tensor) -> torch.Tensor:
    """Patch tokens after a cls token (N, 1 + P, V), or maps (N, V, H, W) -> (N, V)."""
    return output.mean(dim=(2, 3)) if output.ndim == 4 else output[:, 1:].mean(dim=1)


def _pool(means: torch.Tensor) -> torch.Tensor:
    """(2 B, V), all static pictures before all wrist pictures -> (B, 2, V)."""
    return torch.stack(means.chunk(2), dim=1)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
