"""What can be said of embeddings without labels."""
