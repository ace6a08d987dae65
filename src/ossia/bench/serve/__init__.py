"""A load on any server with an OpenAI API, and how it bears it. Loads no torch."""
