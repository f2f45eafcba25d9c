"""TensorRT as an encoder engine: a plan of tensorrt_build.py, run on a stream of its own, on torch's tensors without a copy."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from worldagen.engines.encoder import Encoded
from worldagen.engines.files import StoredFile
from worldagen.engines.onnx_runtime import check_pictures
from worldagen.engines.tensorrt_build import make_logger
from worldagen.errors import EngineError


class Stream(Protocol):
    """A queue of GPU work. handle: what TensorRT takes."""

    handle: int

    def begin(self) -> None:
        """What is queued from now on waits for torch's work so far."""
        ...

    def end(self, tensors: Sequence[torch.Tensor]) -> None:
        """Torch's work from now on waits for what was queued, and the tensors' memory is not used anew before."""
        ...


class CudaStream:
    """A stream of torch."""

    def __init__(self, device: torch.device) -> None:
        self._stream, self._device = torch.cuda.Stream(device), device
        self.handle: int = self._stream.cuda_stream

    def begin(self) -> None:
        self._stream.wait_stream(torch.cuda.current_stream(self._device))

    def end(self, tensors: Sequence[torch.Tensor]) -> None:
        torch.cuda.current_stream(self._device).wait_stream(self._stream)
        for tensor in tensors:
            tensor.record_stream(self._stream)


class TensorrtEngine:
    """One execution context."""

    def __init__(
        self,
        trt: Any,
        plan: StoredFile,
        device: torch.device,
        make_stream: Callable[[torch.device], Stream] = CudaStream,
    ) -> None:
        """plan: of find_or_build, so it is whole and of this machine. Raises EngineError."""
        told = plan.told
        self.name = f"tensorrt {told['precision']} on {told['gpu']}"
        self._sides, self._device = (told["static_size"], told["wrist_size"]), device
        self._outputs: list[str] = list(told["outputs"])
        self._logger = make_logger(trt)  # lives as long as what it was given to
        self._runtime = trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan.path.read_bytes())
        if self._engine is None:
            raise EngineError(
                f"{self.name}: {plan.path} is no engine for this machine{self._complaint()}; remove it, it is built again"
            )
        self._require_interface(trt)
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise EngineError(f"{self.name}: there is not enough GPU memory to run it{self._complaint()}; free some")
        self._stream = make_stream(device)

    def encode(self, static: torch.Tensor, wrist: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self._run(static, wrist)
        return found["latents"], found["cls"]

    def encode_all(self, static: torch.Tensor, wrist: torch.Tensor) -> Encoded:
        found = self._run(static, wrist)
        return Encoded(found.pop("latents"), found.pop("cls"), found)

    def _run(self, static: torch.Tensor, wrist: torch.Tensor) -> dict[str, torch.Tensor]:
        check_pictures(self.name, static, wrist, self._sides)
        try:
            given = {
                name: pictures.detach().to(self._device, torch.float32).contiguous()
                for name, pictures in (("static", static), ("wrist", wrist))
            }
            for name, pictures in given.items():
                if not self._context.set_input_shape(name, tuple(pictures.shape)):
                    raise EngineError(f"{self.name}: {name} of {list(pictures.shape)} is outside what it was built for")
            found = {
                name: torch.empty(tuple(self._context.get_tensor_shape(name)), dtype=torch.float32, device=self._device)
                for name in self._outputs
            }
        except torch.cuda.OutOfMemoryError as error:
            raise EngineError(f"{self.name}: out of GPU memory ({str(error).splitlines()[0]}); free some") from None
        tensors = {**given, **found}
        for name, tensor in tensors.items():
            if not self._context.set_tensor_address(name, tensor.data_ptr()):
                raise EngineError(f"{self.name}: it does not take the memory of {name}{self._complaint()}")
        self._stream.begin()
        if not self._context.execute_async_v3(self._stream.handle):
            raise EngineError(f"{self.name}: it failed while running{self._complaint()}")
        self._stream.end(list(tensors.values()))
        return {name: tensor.to(static.device, static.dtype) for name, tensor in found.items()}

    def _require_interface(self, trt: Any) -> None:
        names = [self._engine.get_tensor_name(place) for place in range(self._engine.num_io_tensors)]
        expected = {"static": trt.TensorIOMode.INPUT, "wrist": trt.TensorIOMode.INPUT}
        expected |= dict.fromkeys(self._outputs, trt.TensorIOMode.OUTPUT)
        found = {name: self._engine.get_tensor_mode(name) for name in names}
        types = {name for name in names if self._engine.get_tensor_dtype(name) != trt.DataType.FLOAT}
        if found != expected or types:
            raise EngineError(
                f"{self.name}: the plan's tensors are {', '.join(names)} (not fp32: {', '.join(sorted(types)) or 'none'}); "
                f"expected {', '.join(expected)}, all fp32; remove it, it is built again"
            )

    def _complaint(self) -> str:
        return f" ({'; '.join(self._logger.complaints[-3:])[:600]})" if self._logger.complaints else ""
