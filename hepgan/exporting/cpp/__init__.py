"""Export of a generator as a C++ header without a runtime."""
