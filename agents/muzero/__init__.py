"""MuZero: plans in a model that it learns from its own play.

agent       assembles the parts: acts, trains, saves
networks/   representation, dynamics, reward, value and policy
model       a network behind the interface that searches plan in
search/     PUCT and Gumbel, batched over roots
self_play   a group of environments that share one search
pools       plays the groups, in this process or in several
replay      decisions in preallocated lanes; targets computes what is learned from them
reanalysis  searches stored decisions again
learner     gradient steps; losses and schedules beside it
trainer     the loop: play, learn, evaluate, keep; training_metrics counts what happens
"""
