"""A bank of places: one adapter for each place a robot has met, found again by how the place looks, and mixed.

After TMoW (test-time mixture of world models, arXiv 2601.22647), from text graphs to cameras: what a frozen encoder
makes of the static view says at three levels where the robot is; the adapters of the nearest places are mixed, level by level.

    embedding.py    pictures -> an Embedding: one vector a level
    whitening.py    vectors that all look alike -> vectors that tell places apart
    prototypes.py   what is kept of a place: mean, count and variance a level
    routing.py      an Embedding and the prototypes -> weights, or abstention; a pure function
    stacked.py      the weighted adapters beside the base, without merging
    starting.py     a new adapter from the mixture
    places.py       the bank on disk, and what may enter it
    surveying.py    a recording -> embeddings; what a bank is calibrated on
"""
