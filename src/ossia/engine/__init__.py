"""Token ids in, token ids out: scheduling, running and sampling. Knows no text."""
