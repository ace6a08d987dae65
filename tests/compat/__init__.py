"""Tests that run tests in another environment."""
