"""The user's files: strict YAML, embeddings, weights, run directories."""
