"""The commands ``powergrid-train`` and ``powergrid-evaluate``.

- ``train``, ``evaluate``, and ``compare`` and ``merge``, subcommands of the second.
- ``side_by_side``: evaluates several agents on one list of episodes.
- ``command_line``: runs a command; a user's mistake is one line.
"""
