"""A bank of places: one adapter for each place a robot has met, found again by how the place looks, and mixed.

After TMoW (test-time mixture of world models, arXiv 2601.22647), carried over from text graphs to cameras: what a frozen
encoder makes of the static view says at three levels where the robot is; the adapters of the nearest places are mixed, level by
level.

    embedding.py    pictures -> an Embedding: one vector a level
    graph.py        another way to embed, by messages among patches
    whitening.py    vectors that all look alike -> vectors that tell places apart
    prototypes.py   what is kept of a place: mean, count and variance a level
    routing.py      an Embedding and the prototypes -> weights, or abstention; a pure function
    refinement.py   prototypes moved within bounds while the robot runs; off by default
    router.py       the router of an episode: when it looks, how its weights move
    factors.py      the two factors of an adapter, checked, and what weights may be given to them
    stacked.py      the weighted adapters beside the base, without merging
    merged.py       the same folded into the weights
    mixer.py        either of them in a running network
    driving.py      the router and the mixture in a running policy
    starting.py     a new adapter from the mixture
    places.py       the bank on disk, and what may enter it
    opening.py      a bank on disk for a running policy
    surveying.py    a recording -> embeddings; what a bank is calibrated on
"""
