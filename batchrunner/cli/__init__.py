"""The command line. Everything may be imported here; nothing imports this."""
