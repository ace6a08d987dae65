"""Legacy completions: a prompt as it is, without any conversation, and what follows it."""
