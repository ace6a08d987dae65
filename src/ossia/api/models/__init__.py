"""The model classes with the names, arguments and outputs that transformers gives them."""
