"""Every block of docs/serving.md is run, or says why it cannot be; its tables are held to the code."""
