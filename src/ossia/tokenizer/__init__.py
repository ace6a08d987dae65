"""Text to token ids and back, with the o200k_harmony vocabulary."""

from ossia.tokenizer.detokenizer import IncrementalDetokenizer
from ossia.tokenizer.tokenizer import Tokenizer

__all__ = ["IncrementalDetokenizer", "Tokenizer"]
