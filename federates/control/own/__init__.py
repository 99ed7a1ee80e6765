"""A control of the user's under test: one class in a file beside the scenario, or a process outside that answers.

`ports` finds what it reads and writes, `listening` is the federate that asks it once for each instant. `code`, `http`
and `outside` are ways to ask: a class, a request over HTTP, a federate of HELICS. `control`, `http_control` and
`helics_control` are the kinds.
"""
