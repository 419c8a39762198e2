# SPDX-License-Identifier: Apache-2.0
"""One class for each kind of mlxn's errors; each is also of the Python type that fits."""


class Error(Exception):
    """Every failure of the library. The text names where, parameter, value found and value required."""

    kind: str = ""  # such as "invalid argument"
    where: str = ""  # op, file or object
    parameter: str = ""
    found: str = ""
    required: str = ""
    is_transient: bool = False  # the same call may succeed when repeated


class InvalidArgumentError(Error, ValueError):
    """An argument breaks the contract of the call."""


class DeviceNotFoundError(Error, LookupError):
    """No such device, or its backend is not built."""


class CommandBufferError(Error, RuntimeError):
    """Recorded work failed while it ran."""


class BufferAllocationError(Error, MemoryError):
    """The device or the host could not give this much memory."""


class KernelNotFoundError(Error, NotImplementedError):
    """No kernel accepts the call."""


class IoError(Error, OSError):
    """Open, read or map failed."""


class SafetensorsError(Error, ValueError):
    """A .safetensors file breaks its format."""


class GgufError(Error, ValueError):
    """A .gguf file breaks its format."""


class QuantConfigError(Error, ValueError):
    """The quantization section of a config is malformed."""


class ConfigError(Error, ValueError):
    """The configuration describes a model that cannot be built."""


class UnsupportedDtypeError(Error, NotImplementedError):
    """A file holds an element type that cannot be represented."""


class TokenizerError(Error, ValueError):
    """Tokenizer data is malformed or of an unknown kind."""


class TemplateError(Error, ValueError):
    """A chat template does not parse, or raised an exception."""


class ContextFullError(Error, OverflowError):
    """The KV cache has no room for another token."""


class KernelCompilationError(Error, RuntimeError):
    """The compiler of a GPU's driver refuses a kernel."""


# In the order of ErrorKind.
KINDS = tuple(Error.__subclasses__())


def refusal(kind: type[Error], where: str, parameter: str, found: str, required: str) -> Error:
    error = kind(f"{where}: {parameter}: found {found}, required {required}")
    error.where, error.parameter, error.found, error.required = where, parameter, found, required
    return error


__all__ = ["Error", "InvalidArgumentError", "DeviceNotFoundError", "CommandBufferError", "BufferAllocationError",
           "KernelNotFoundError", "IoError", "SafetensorsError", "GgufError", "QuantConfigError", "ConfigError",
           "UnsupportedDtypeError", "TokenizerError", "TemplateError", "ContextFullError", "KernelCompilationError"]
