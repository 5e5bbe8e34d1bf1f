"""All that knows the remote API: what travels (wire) and how it travels (client)."""

LIBRARY = "https://magichour.ai/my-library"
"""Where a person sees every project of the account, those made through the API included (provider docs, overview)."""
