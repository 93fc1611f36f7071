"""What is measured between a sample and its reference."""
