"""What callers use: model classes, text generation, conversations. Text meets tokens here."""
