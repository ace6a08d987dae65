"""The things the demo model learns, one module each."""
