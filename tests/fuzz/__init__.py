"""Long random runs, as commands: `python -m fuzz.parser`, `python -m fuzz.renderer` in tests/."""
