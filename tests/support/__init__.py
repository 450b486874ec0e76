"""What several test files share: a server in a thread, raw clients, records of logs."""
