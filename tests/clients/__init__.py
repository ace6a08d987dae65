"""Real clients against a real server: what a user of each would see."""
