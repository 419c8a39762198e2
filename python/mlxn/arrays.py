# SPDX-License-Identifier: Apache-2.0
"""Devices, and arrays of NumPy, PyTorch, MLX, JAX or CuPy as buffers of a device."""
import sys
import threading

from ._mlxn import Buffer, Device, Stream, TqRows, Weight, import_array
from .errors import InvalidArgumentError, refusal

_devices: dict = {}
_lock = threading.Lock()
_streams = threading.local()
_held: dict = {}  # streams that must not go with their last user


def device(id: str = "cpu") -> Device:
    """The device of this name that ops share: 'cpu', 'cuda:N', 'metal:N' or 'best'."""
    with _lock:
        if id not in _devices:
            _devices[id] = Device.open(id)
        return _devices[id]


def is_torch(x) -> bool:
    return "torch" in sys.modules and isinstance(x, sys.modules["torch"].Tensor)


def home_of(x) -> Device:
    """Where an argument lies: the device of a buffer or of a CUDA tensor, else the CPU."""
    if isinstance(x, (Buffer, Weight, TqRows)):
        return x.device
    if not isinstance(x, (list, tuple, int, float)) and hasattr(x, "__dlpack_device__"):
        kind, index = x.__dlpack_device__()
        if kind in (2, 13):
            return device(f"cuda:{index}")
    return device()


def native_stream(x):
    """The cudaStream_t that the owner of a CUDA tensor works on now; None for what needs none."""
    if is_torch(x) and x.is_cuda:
        return sys.modules["torch"].cuda.current_stream(x.device).cuda_stream
    if "cupy" in sys.modules and isinstance(x, sys.modules["cupy"].ndarray):
        return _cupy_stream()
    return None


def _cupy_stream():
    stream = sys.modules["cupy"].cuda.get_current_stream()
    _held[stream.ptr] = stream
    return stream.ptr


def stream_for(home: Device, native=None) -> Stream:
    """This thread's stream on a device, or on a CUDA stream of another library."""
    streams = _streams.__dict__.setdefault("all", {})
    key = (home, native)
    if key not in streams:
        streams[key] = Stream(home) if native is None else Stream.on(home, native)
    if native is not None and _is_capturing():
        _held[id(streams[key])] = streams[key]  # the graph needs what it keeps, also when this thread is gone
    return streams[key]


def _is_capturing():
    torch, cupy = sys.modules.get("torch"), sys.modules.get("cupy")
    captured = torch and torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()
    return bool(captured or cupy and cupy.cuda.get_current_stream().is_capturing())


def settle(home: Device) -> None:
    """Waits for what this thread has put on a GPU: on its own stream, the default one, and those in use by other libraries."""
    natives = {None, 1}
    if "torch" in sys.modules and (cuda := sys.modules["torch"].cuda).is_initialized():
        natives.add(cuda.current_stream(home.index).cuda_stream)
    if "cupy" in sys.modules:
        natives.add(_cupy_stream())
    for native in natives:
        stream_for(home, native).wait()


class Lent:
    """A GPU's memory in the hands of another library, which may let go of it with work on it still queued."""

    def __init__(self, buffer: Buffer):
        self.buffer = buffer

    def __del__(self):
        try:
            settle(self.buffer.device)
        except Exception:  # noqa: BLE001 - inside a capture, or at the end of the process
            pass


def array(x, device: Device | None = None, *, dtype: str | None = None, writable: bool = False, what: str = "array") -> Buffer:
    """x as a buffer. Contiguous NumPy and DLPack memory is used where it lies, read-only unless `writable`; a GPU
    copies what lies on the host. Lists become `dtype`, f32 by default; 'i32' and 'u32' also convert other integers that fit."""
    if isinstance(x, Buffer):
        return x
    home = device or home_of(x)
    as_dtype = None
    if is_torch(x):
        x = x.detach()
    if not hasattr(x, "__dlpack__"):
        import numpy as np

        x = np.asarray(x, None if hasattr(x, "__array__") or dtype in ("i32", "u32") else _numpy_type(dtype or "f32"))
    if type(x).__module__ == "numpy":
        x, as_dtype = _from_numpy(x, dtype, what)
    elif hasattr(x, "__dlpack_device__") and x.__dlpack_device__()[0] == 2:
        if native_stream(x) is not None:
            x = x.__dlpack__(stream=-1)  # work on it goes to the owner's stream
        else:
            place = home_of(x)
            x = x.__dlpack__(stream=1)  # the owner lets the default stream wait for the data
            stream_for(place, 1).wait()
    return import_array(home, x, what, writable, as_dtype)


def _numpy_type(dtype):
    import ml_dtypes

    return ml_dtypes.bfloat16 if dtype == "bf16" else _NUMPY.get(dtype, dtype)


def _from_numpy(x, dtype, what):
    import numpy as np

    if dtype in ("i32", "u32") and x.dtype.kind in "iu" and x.dtype.name != _NUMPY[dtype]:
        limits = np.iinfo(_NUMPY[dtype])
        if x.size and not limits.min <= int(x.min()) <= int(x.max()) <= limits.max:
            raise refusal(InvalidArgumentError, "mlxn.array", what, f"{x.min()} to {x.max()}", f"values of {dtype}")
        x = x.astype(_NUMPY[dtype])
    if x.dtype.name == "bfloat16":
        return x.view(np.uint16), "bf16"
    return x, None


_NUMPY = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "u8": "uint8", "u16": "uint16", "u32": "uint32",
          "i32": "int32"}


def like(tensor, home: Device, shape, dtype: str):
    """A new array for a result, and its buffer: PyTorch's beside a tensor of its own, so that its allocator and streams know it."""
    if tensor is None:
        made = Buffer.alloc(home, list(shape), dtype)
        return made, made
    torch = sys.modules["torch"]
    made = torch.empty(tuple(shape), dtype=getattr(torch, _NUMPY.get(dtype, dtype)), device=tensor.device)
    return made, array(made, home, writable=True)
