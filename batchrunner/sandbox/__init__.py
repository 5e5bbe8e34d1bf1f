"""A local server that speaks the provider's API and really renders small video. It never imports the core.

For first steps, rehearsals and tests: the provider's endpoints and refusals, presigned and expiring addresses,
credits that are held, settled and refunded, results that play. Everything lives in one data folder and survives a
killed process. The only key is `mhk_sandbox`.

    python -m batchrunner.sandbox --data-dir DIR     serves, and says where in one line of JSON
    launch.start(Settings(data_dir=...))             the same as a child of this process
    GET /_sandbox/ledger                             what was accepted and every credit that moved

One request flows one way: server -> intake (is it well formed?) -> assets (what is the input?) -> prices (what does
it cost?) -> books (written down and charged) -> farm -> renderer -> books (settled). What is known of the provider
comes from its documentation and its SDK; where both are silent the docstring says that the sandbox chose.
"""
