"""The commands ``powergrid-train``, ``powergrid-evaluate`` and ``powergrid-actions``.

- ``train``, ``evaluate``; ``results``: ``compare`` and ``merge``, subcommands of the second.
- ``actions``: ``show``, ``check`` and ``merge``, subcommands of the third; ``mining``: ``mine``.
- ``entry``: where they start, before anything heavy is loaded.
- ``side_by_side``: evaluates several agents on one list of episodes.
- ``multirun``: what the jobs of a ``--multirun`` write down, and the table of its runs.
- ``wandb_agent``: a W&B sweep agent that runs this interpreter.
- ``command_line``: runs a command; a user's mistake is one line.
"""
