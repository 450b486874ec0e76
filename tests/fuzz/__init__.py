"""The tests of `fuzz`, and its bounded run."""
