"""What outlives a request: responses, their events, conversations, stored chat completions."""

from ossia.server.store.interface import JsonObject, Store, StoredChat, StoredResponse
from ossia.server.store.sqlite import SqliteStore

__all__ = ["JsonObject", "SqliteStore", "Store", "StoredChat", "StoredResponse"]
