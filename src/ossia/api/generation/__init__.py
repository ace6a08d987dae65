"""generate: how a model continues prompts, under transformers' names."""
