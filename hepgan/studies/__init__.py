"""Comparisons of objectives and demonstrations of adversarial learning."""
