"""Open and run an exported generator, without torch."""
