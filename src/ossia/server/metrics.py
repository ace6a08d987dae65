"""Metrics: what is counted, under names that follow vLLM's so that dashboards can be carried over."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import generate_latest

_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_TOKENS = tuple(2**power for power in range(18))


class Metrics:
    """One server's counters; several servers may live in a process.

    Attributes:
        registry: Where further collectors can be registered.
        http_requests: Answers, by method, route and status.
        finished: Answers of the model, by why they ended.
        first_token: Seconds from admission to the first token.
        inter_token: Seconds between tokens of one answer.
        latency: Seconds from admission to the end of an answer.
        prompt_tokens: Tokens of prompts.
        generated_tokens: Tokens drawn.
        prompt_sizes: Tokens of a prompt.
        answer_sizes: Tokens of an answer.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.http_requests = self._counter(
            "http_requests", "HTTP requests answered.", ("method", "route", "status")
        )
        self.finished = self._counter("request_success", "Answers ended.", ("finished_reason",))
        self.prompt_tokens = self._counter("prompt_tokens", "Prompt tokens of ended answers.")
        self.generated_tokens = self._counter("generation_tokens", "Tokens of ended answers.")
        self.first_token = self._histogram(
            "time_to_first_token_seconds", "From admission to the first token."
        )
        self.inter_token = self._histogram(
            "inter_token_latency_seconds", "Between two tokens of an answer, on average over it."
        )
        self.latency = self._histogram(
            "e2e_request_latency_seconds", "From admission to the end of an answer."
        )
        self.prompt_sizes = self._histogram("request_prompt_tokens", "Tokens of a prompt.", _TOKENS)
        self.answer_sizes = self._histogram(
            "request_generation_tokens", "Tokens of an answer.", _TOKENS
        )

    def exposition(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, help_text: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(f"ossia:{name}", help_text, labels, registry=self.registry)

    def _histogram(
        self, name: str, help_text: str, buckets: tuple[float, ...] = _SECONDS
    ) -> Histogram:
        return Histogram(f"ossia:{name}", help_text, buckets=buckets, registry=self.registry)
