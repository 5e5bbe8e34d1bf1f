"""A local server that speaks the provider's API and really renders small video. It never imports the core.

For first steps, rehearsals and tests: the provider's endpoints and refusals, presigned and expiring addresses,
credits that are held, settled and refunded, results that play. Everything lives in one data folder and survives a
killed process. The only key is `mhk_sandbox`.

    python -m batchrunner.sandbox --data-dir DIR     serves, and says where in one line of JSON
    launch.start(Settings(data_dir=...))             the same as a child of this process
    GET /_sandbox/ledger                             what was accepted and every credit that moved
    POST /_sandbox/credits                           credits bought, or spent in the web app: {"credits": n}
    POST /_sandbox/projects/{id}/cancel, /disable    what a person does to a project in the web app
    GET, PUT, DELETE /_sandbox/webhook              where notices go, {"url", "secret"}, and what became of each
    GET, PUT /_sandbox/faults                        how it misbehaves: a list of rules (rules.py says which)

It misbehaves on request: `--faults FILE` by script, `--chaos mild|wild --seed N` at random (chaos.py). With
`--no-render` it renders nothing and plays thousands of renders at once.

One request flows one way: server -> faults (does it get through?) -> intake (is it well formed?) -> assets (what is
the input?) -> prices (what does it cost?) -> books (written down and charged) -> farm -> studio -> renderer -> books
(settled). What is known of the provider
comes from its documentation and its SDK; where both are silent the docstring says that the sandbox chose.
"""
