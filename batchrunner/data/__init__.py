"""Files the package carries: the catalogue, the state file's schema."""
