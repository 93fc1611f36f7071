"""Training: from a configuration to a run folder with checkpoint, log and exported model."""
