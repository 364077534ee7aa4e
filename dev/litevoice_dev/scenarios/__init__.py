"""What `make try` shows with local processes and `make demo` on a cluster: the same calls, checks and printing."""
