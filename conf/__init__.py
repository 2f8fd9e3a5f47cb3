"""Configuration: every value that a person may want to change, as Hydra groups."""
