"""Kernel density matrices: densities, joint models and estimators in log space, in bounded memory.

A joint model of points and classes, from a stream, asked both ways::

    model = Classifier(n_classes=5, n_prototypes=64)
    for x, y in stream:
        model.partial_fit(x, y)
    model.predict_proba(x)  # (n, 5): each point is a pure state
    model.predict_bag(x)  # (5,): the bag is a mixed state of its points
    of_class = model.kdm_.condition(KDM.of([[0, 0, 1, 0, 0]], Cosine()), 1)
    of_class.log_density(x), of_class.sample(10, rng)  # what points of class 2 look like
"""

from __future__ import annotations

from flight.learn.kdm.estimators import Classifier, DensityEstimator, NotFittedError, Regressor, ascend
from flight.learn.kdm.kernels import RBF, Cosine, Kernel, Product
from flight.learn.kdm.matrix import KDM, Gradient
from flight.learn.kdm.prototypes import Prototypes, PrototypeStream, grouped, spacing

__all__ = [
    "KDM",
    "RBF",
    "Classifier",
    "Cosine",
    "DensityEstimator",
    "Gradient",
    "Kernel",
    "NotFittedError",
    "Product",
    "PrototypeStream",
    "Prototypes",
    "Regressor",
    "ascend",
    "grouped",
    "spacing",
]
