"""What Python programs use; `batchrunner` itself gives all of it. The same composition as the command line."""
