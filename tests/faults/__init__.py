"""What applications and clients do wrong, and what becomes of the request, its connection, the server and the log."""
