"""Chat Completions: a request to a question, and the events of its answer to chunks or an object."""
