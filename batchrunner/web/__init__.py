"""What batchrunner serves to others: servers of its own, apart from the sandbox's."""
