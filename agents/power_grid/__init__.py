"""What knows both MuZero and the power grid.

teacher      names policies by looking ahead in the simulator at every legal action
lookaheads   what the flow network learns from those look-aheads: which are recorded, the losses
flow         a network that predicts line loadings after each action
grid_tables  the grid's wiring and what actions change, for the flow network
potentials   balances power on graphs, and differentiates that
"""
