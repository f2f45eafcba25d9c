"""What runs the encoder of a policy, and what it may change. Imports no torch: it is part of a deployment's tree."""

from dataclasses import dataclass, field
from typing import Literal

from worldagen.config import setting

Precision = Literal["fp32", "fp16", "bf16", "int8", "fp8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "bf16", "int8", "fp8")
KINDS = ("auto", "torch", "onnxruntime", "tensorrt")


@dataclass(frozen=True)
class EngineLimits:
    """What an engine may change on the probe set, against the network computed by torch. An engine beyond one is refused.

    Actions are judged row by row. The defaults of translation and rotation are a twentieth of the largest row that CALVIN and
    playtable know (0.02 m, 0.05 rad): less than the disturbance that closed-loop policies are trained with.
    """

    min_cosine: float = setting(0.99, "least cosine of a token with torch's, of either view", low=0.0, high=1.0)
    max_error: float = setting(
        1.0, "largest error of a number in a token, in root mean squares of that view's tokens", low=0.0, high=100.0
    )
    max_translation_m: float = setting(0.001, "largest change of a row's translation, m", low=0.0, high=1.0)
    max_rotation_rad: float = setting(0.0025, "largest change of a row's rotation, rad", low=0.0, high=3.2)
    max_gripper_flips: float = setting(0.02, "largest share of rows whose gripper changes its mind", low=0.0, high=1.0)


@dataclass(frozen=True)
class EngineConfig:
    """What runs the encoder of pictures. Whatever is refused is told, and torch computes in its place."""

    kind: str = setting(
        "torch",
        "torch: the network itself; onnxruntime, tensorrt: exported; auto: the fastest on this machine that passes the limits",
        choices=KINDS,
    )
    precision: str = setting(
        "any", "of the encoder; any: what the engine can do here, the fastest first", choices=("any", *PRECISIONS)
    )
    compile: bool = setting(False, "torch only: compile the encoder (needs a C++ compiler; the first decision takes minutes)")
    frames: str = setting(
        "", "a bag, or a folder of bags, whose frames calibrate and try engines; empty: drawn pictures try, nothing calibrates"
    )
    folder: str = setting(
        "", "where exported encoders and built engines are kept; empty: worldagen/engines in the user's cache"
    )
    workspace_mib: int = setting(1024, "tensorrt only: GPU memory that building may use, MiB", low=16, high=1 << 20)
    limits: EngineLimits = field(default_factory=EngineLimits)
