"""Every error that Ossia raises on purpose.

    OssiaError
    ├── ConfigError            a config.json, preset or setting that contradicts itself   (ValueError)
    ├── CheckpointError        a weights file that is not what its config says            (ValueError)
    ├── ModelNotFoundError     no such folder, hub id or preset                            (FileNotFoundError)
    ├── RequestError           a request that cannot be served as asked                    (ValueError)
    │   ├── ContextLengthError     prompt and output do not fit the model
    │   └── CapacityError          the request can never fit this machine's KV cache
    ├── GrammarCostError       a text whose grammar turned out too costly on the way       (ValueError)
    ├── EngineClosedError      the engine was shut down                                    (RuntimeError)
    ├── KernelError            a kernel that does not compile, load or run                 (RuntimeError)
    ├── ServerError            a server that is not there, refuses or breaks off            (ConnectionError)
    ├── StoreError             responses cannot be kept or read                            (RuntimeError)
    │   └── StoreUnreachableError  their database is away, for now
    ├── HarmonyError           text or tokens that break the harmony format                (RuntimeError)
    │   └── HarmonyDataError       JSON that is no message, conversation or tool            (ValueError)
    └── MissingDependencyError an optional package is needed                               (ImportError)

Each class also derives from the builtin that fits, so callers may catch either. Messages are one
line and say what to do. `exit_code` is what the command line returns for it.
"""


class OssiaError(Exception):
    """Base of all errors a user can cause or mend."""

    exit_code = 1


class ConfigError(OssiaError, ValueError):
    """A configuration that is incomplete, unknown or contradicts itself."""

    exit_code = 3


class CheckpointError(OssiaError, ValueError):
    """A checkpoint whose files do not hold what its config promises.

    Args:
        message: What is wrong, without the location.
        file: The file at fault, if one is.
        tensor: The tensor at fault, if one is.
    """

    exit_code = 3

    def __init__(self, message: str, *, file: object = None, tensor: str | None = None) -> None:
        where = ": ".join(str(part) for part in (file, tensor) if part is not None)
        super().__init__(f"{where}: {message}" if where else message)
        self.file = file
        self.tensor = tensor


class ModelNotFoundError(OssiaError, FileNotFoundError):
    """The model name matches no folder, preset or downloaded checkpoint."""

    exit_code = 4


class RequestError(OssiaError, ValueError):
    """A request the engine refuses.

    Args:
        message: One line that says what to change.
        field: Name of the offending parameter.
    """

    exit_code = 2

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class ContextLengthError(RequestError):
    """Prompt and requested output exceed the model's maximum length."""


class CapacityError(RequestError):
    """The request alone needs more KV cache than the engine owns."""


class GrammarCostError(OssiaError, ValueError):
    """What a text must look like costs too much to enforce, which showed only while it was drawn."""

    exit_code = 2


class KernelError(OssiaError, RuntimeError):
    """A kernel that does not compile, cannot be loaded, or cannot run as it was called."""


class EngineClosedError(OssiaError, RuntimeError):
    """The engine has been shut down, or its loop has failed."""


class ServerError(OssiaError, ConnectionError):
    """A server that Ossia talks to cannot be reached, refuses, or breaks off."""


class StoreError(OssiaError, RuntimeError):
    """What a server has to keep cannot be written or read."""


class StoreUnreachableError(StoreError):
    """The database of a store is not there; it may come back."""


class HarmonyError(OssiaError, RuntimeError):
    """Tokens or messages that the harmony format does not allow."""


class HarmonyDataError(HarmonyError, ValueError):
    """Data that is not the JSON form of a message, a conversation, a tool or one of their parts."""


class MissingDependencyError(OssiaError, ImportError):
    """An optional package is not installed; the message names the extra."""

    exit_code = 5
