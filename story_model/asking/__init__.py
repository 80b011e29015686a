"""Questions to OpenAI-compatible endpoints, singly or in batches, each paid once."""
