"""Conversations: histories that the server keeps, to which responses add."""
