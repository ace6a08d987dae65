"""The Responses API: requests to questions, events of answers to items, objects and streams."""
