"""The GPU and who computes on it: torch, TensorRT, and OpenGL for the simulator."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from worldagen.doctor.findings import Finding, fail, ok, skip, warn

NVIDIA, DISPLAY = "0x10de", "0x03"  # PCI vendor, and how the class of a graphics device begins
BYTE_PRODUCTS = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")  # of a processor: it multiplies bytes at once
SOFTWARE = ("llvmpipe", "softpipe", "swrast", "software")  # in the name of a renderer that draws on the CPU


def look_at_gpu() -> str:
    """An NVIDIA GPU of this machine in words, "" when there is none. Also without a driver."""
    asked = _ask_driver()
    if asked:
        return asked
    if Path("/etc/nv_tegra_release").exists() or Path("/dev/nvhost-gpu").exists():
        return "the GPU of a Jetson"
    for device in Path("/sys/bus/pci/devices").glob("*"):
        if _read(device / "vendor") == NVIDIA and _read(device / "class").startswith(DISPLAY):
            return f"an NVIDIA GPU at {device.name}, without a driver that answers"
    return ""


def _ask_driver() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    command = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return "; ".join(f"{name} (driver {driver})" for name, _, driver in (line.partition(", ") for line in lines))


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def check_gpu(gpu: str) -> Finding:
    """What there is to compute on. gpu: in words, "" for none."""
    if not gpu:
        return skip("GPU", "no NVIDIA GPU in this machine: the network computes on the CPU")
    if "without a driver" in gpu:
        return warn("GPU", gpu, "install NVIDIA's driver and see that nvidia-smi answers (in a container: --gpus all)")
    return ok("GPU", gpu)


def check_torch(installed: str, answer: dict[str, Any] | None, fault: str, gpu: str, cores: int) -> list[Finding]:
    """installed: version by its metadata, "" for none. answer: of the trial, None where it failed with this fault."""
    if not installed:
        return [fail("torch", "is not installed: no network, no training", "run scripts/setup")]
    if answer is None:
        return [fail("torch", f"{installed} cannot be imported ({fault})", "install it again: scripts/setup")]
    return [_check_build(answer, gpu), check_threads(answer["threads"], cores)]


def _check_build(answer: dict[str, Any], gpu: str) -> Finding:
    version, cuda = answer["version"], answer["cuda"]
    if not cuda:
        if gpu:
            return warn(
                "torch",
                f"{version}, built for the CPU only; there is {gpu}",
                "install a CUDA build of torch: pytorch.org tells which",
            )
        return ok("torch", f"{version}, built for the CPU, as there is no NVIDIA GPU")
    if not answer["available"]:
        if not gpu:
            return ok("torch", f"{version}, built for CUDA {cuda}; computes on the CPU, as there is no NVIDIA GPU")
        return warn(
            "torch",
            f"{version}, built for CUDA {cuda}, finds no device; there is {gpu}",
            "see whether the driver is too old for this CUDA (nvidia-smi tells) or CUDA_VISIBLE_DEVICES is empty",
        )
    named = [f"{device['name']} ({_capability(device)})" for device in answer["devices"]]
    for device in answer["devices"]:
        if not serves(answer["architectures"], tuple(device["capability"])):
            built = " ".join(answer["architectures"])
            found = f"{version}, built for {built}, which {device['name']} ({_capability(device)}) cannot run"
            return fail("torch", found, "install a build of torch whose list holds it")
    return ok("torch", f"{version}, CUDA {cuda}, on {', '.join(named)}")


def _capability(device: dict[str, Any]) -> str:
    return "sm_" + "".join(map(str, device["capability"]))


def serves(architectures: Sequence[str], capability: tuple[int, int]) -> bool:
    """Whether a build with these runs on a device: code of its generation, not younger, or PTX (compute_), not younger."""
    for text in architectures:
        kind, _, number = text.partition("_")
        if not number.isdecimal():  # sm_90a: that very device, which has sm_90 in the list too
            continue
        built = (int(number[:-1]), int(number[-1]))
        if built <= capability and (kind == "compute" or built[0] == capability[0]):
            return True
    return False


def check_threads(threads: int, cores: int) -> Finding:
    """threads: of torch, where nobody sets them (the policy node does: policy.threads)."""
    if threads > cores:
        return warn(
            "torch threads", f"{threads} on {cores} cores: they wait for each other", f"run: export OMP_NUM_THREADS={cores}"
        )
    return ok("torch threads", f"{threads} of {cores} cores by default; the policy node takes policy.threads")


def check_tensorrt(installed: str, answer: dict[str, Any] | None, fault: str, gpu: str) -> Finding:
    """installed: whether Python finds it, in words, "" for not. answer and fault as for torch."""
    name = "TensorRT"
    if not installed:
        if not gpu:
            return skip(name, "not installed, and no NVIDIA GPU to use it on")
        return warn(
            name,
            f"not installed; there is {gpu}",
            "install the tensorrt of JetPack, or pip's that fits torch's CUDA, if you want it",
        )
    if answer is None:
        return warn(name, f"found, but cannot be imported ({fault})", "install it anew: its version must fit Python and CUDA")
    return ok(name, answer["version"])


def look_at_byte_products(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The instructions of this processor that multiply bytes, in words, "" for none."""
    lines = _read(cpuinfo).splitlines()
    flags = {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.partition(":")[2].split()}
    return ", ".join(name for name in BYTE_PRODUCTS if name in flags)


def check_onnxruntime(version: str, byte_products: str) -> Finding:
    """version: of what is installed, "" for nothing. byte_products: look_at_byte_products."""
    name = "ONNX Runtime"
    if not version:
        return skip(name, "not installed; engine.kind=onnxruntime needs it")
    gain = (
        f"int8 gains by {byte_products}"
        if byte_products
        else "int8 gains little: this processor does not multiply bytes at once"
    )
    return ok(name, f"{version}; {gain}")


def check_drawing(installed: bool, answer: dict[str, Any] | None, fault: str, gpu: str) -> Finding:
    """How the embedded simulator would draw. answer: {"wanted", "chosen", "device", "why"} of the trial."""
    name = "simulator's OpenGL"
    if not installed:
        return skip(name, "MuJoCo is not installed, so there is no embedded simulator (pip install 'worldagen[sim]')")
    if answer is None:
        return fail(
            name, f"the trial to draw failed ({fault})", "choose sim.renderer=raycast, or repair OpenGL (libegl1 libegl-mesa0)"
        )
    wanted, chosen, device, why = (answer[key] for key in ("wanted", "chosen", "device", "why"))
    if not chosen:
        return fail(
            name, f"{wanted} is asked for and does not work ({why})", "install what is missing, or choose sim.renderer=auto"
        )
    told = f"{wanted} takes {chosen}" if wanted != chosen else chosen
    if chosen == "raycast":
        if wanted == "raycast":
            return ok(name, "raycast, as asked for: needs no OpenGL, and takes about twice as long")
        remedy = "run: unset MUJOCO_GL" if why.startswith("MUJOCO_GL") else "install libegl1 libegl-mesa0 libgl1-mesa-dri"
        return warn(name, f"{told}, at about half the speed, for there is no OpenGL ({why})", remedy)
    if any(word in device.lower() for word in SOFTWARE):
        if gpu:
            return warn(
                name,
                f"{told}, drawn on the CPU by {device} although there is {gpu}",
                "install the driver's EGL library (libnvidia-gl; in a container: NVIDIA_DRIVER_CAPABILITIES=all)",
            )
        return ok(name, f"{told}, drawn on the CPU by {device}")
    return ok(name, f"{told}, drawn by {device}")
