"""What a framework without Python reads: one self-describing file."""
