"""One application per framework, all with the same routes: what they share is in `common`."""
