"""Pure decisions: values in, values out.

Nothing here may touch asyncio, files, the network, the clock, randomness or logging. Whoever needs one of
those hands the value in. See docs/architecture.md for what lives in which module.
"""
