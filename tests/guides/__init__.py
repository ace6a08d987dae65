"""Every code block of the guides that Ossia follows, run with only the import line changed."""
