"""A recorded run once more: which decisions a bag holds, what was seen at each, and how the answers given now differ.

- recorded.py: a bag in, the chunks that were given and everything needed to ask for them again
- planning.py: the decisions to make, each with the rows it is compared with
- observations.py: what the policy saw at each of them, paired as it paired it
- following.py: a policy that remembers what was executed, not what it answers now
- comparison.py: recorded and replayed rows -> errors; chart.py: the same as a picture
"""
