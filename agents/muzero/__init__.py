"""MuZero: plan in a model that is learned from one's own play.

agent       the parts put together: acts, trains, saves
networks/   representation, dynamics, reward, value and policy
model       a network behind the interface that searches plan in
search/     PUCT and Gumbel, batched over roots
self_play   a group of environments that share one search
workers     who plays the groups: this process or several
replay      decisions in preallocated lanes; targets computes what is learned from them
reanalysis  searches remembered decisions again
learner     gradient steps; losses and schedules beside it
trainer     the loop: play, learn, evaluate, keep; training_metrics counts what happens
"""
