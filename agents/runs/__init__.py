"""Runs: their folders (configuration, checkpoints, logs, weights, locks) and their loop.

- ``folder``: ``RunFolder``; ``output_folders`` makes folders in one step, with one writer each.
- ``checkpoints``, ``files``: training states, written at once or not at all.
- ``action_sets``: sets of actions that were given as files, kept with what is saved.
- ``saved_configs``: what of a saved configuration changes when a run is used again.
- ``older_configs``: configurations of older runs by today's names.
- ``weights``: what ``weights=`` names.
- ``json_records``: JSON as dataclasses, strictly.
- ``training_loop``: rounds, evaluations and checkpoints, for every agent that learns.
- ``cluster``: worker processes on one machine or many, by Ray.
- ``loggers``: CSV, progress, W&B.
- ``paths``: paths and names that users give.
- ``devices``, ``interrupt``: where tensors are; Ctrl-C and signals.
"""
