"""Studies of adversarial learning: a benchmark of all objectives, and classic demonstrations."""
