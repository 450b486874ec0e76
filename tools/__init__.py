"""What run.py is made of. Nothing here is installed."""
