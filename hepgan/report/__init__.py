"""Results as a page, figures and tables."""
