"""The embedded engine: a small OpenAI-compatible server over transformers."""
