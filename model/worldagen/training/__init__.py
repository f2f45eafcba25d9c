"""From cached frames to a checkpoint.

recipe.py      every choice, one YAML with reasons (worldagen/recipes/)
samples.py     windows and frames of a cache as batches, a function of seed and step
loop.py        one step after another: accelerate, schedule, EMA, metrics, resume
encoder.py     stage 1: the picture encoder learns where things are
features.py    stage 2: what the encoder makes of every frame, kept
policy.py      stage 3: the rest of the network, on kept features
run.py         the stages in order
"""
