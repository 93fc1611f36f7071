"""Results as a page, figures and tables for the terminal."""
