"""The HTTP server: OpenAI's Responses and Chat Completions APIs, and what goes with them.

Nothing here runs a model or loads torch; the engine is a process of its own behind `service`.
"""
