"""A local server that speaks the provider's API and really renders small video. It never imports the core."""
