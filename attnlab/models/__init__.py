"""Real checkpoints: families as tables, tensors in, the same Stack out."""
