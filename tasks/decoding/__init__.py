"""Structure and trajectory files, opened in a child process: the only place where a file of a user's is parsed as such."""
