"""The tokenizer with transformers' manners, and chats as prompts."""
