"""How a model is spread over several processes; so far only what is asked for."""

from ossia.distributed.config import DistributedConfig

__all__ = ["DistributedConfig"]
