"""From a Hydra configuration to checked parts.

- ``signatures``: settings checked against the type hints of what they are passed to.
- ``settings``: the commands' own sections.
- ``experiments``: what of an experiment goes with options chosen against it.
- ``composed``: a configuration with the words that it was composed of.
- ``composition``: builds environments, agents and loggers; the one place that calls Hydra.
- ``override_errors``: the nearest names for mistyped overrides.
- ``arguments``: what is done to a command line before Hydra reads it.
- ``extensions``: configuration that other installed packages bring.
"""
