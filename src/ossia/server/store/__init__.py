"""What outlives a request: responses, their events, conversations, stored chat completions."""

from ossia.server.store.interface import Store, StoredResponse

__all__ = ["Store", "StoredResponse"]
