"""Anthropic's Messages API, so that its clients can talk to gpt-oss."""
