"""Numbers between a sample and its reference, and the verdict on them."""
