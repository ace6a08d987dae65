"""Tools that Ossia itself runs for a model."""
