"""LLM and SamplingParams: vLLM's offline API."""
