"""The tests; each file is about the module of the same name."""
