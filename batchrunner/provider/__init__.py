"""All that knows the remote API: what travels (wire) and how it travels (client)."""
