"""From uncertainty to P(right) and to thresholds with a guarantee, learned from labelled answers."""

from invent_chain.calibrate.artefact import Calibration
from invent_chain.calibrate.cascade import Cascade, certify_cascade
from invent_chain.calibrate.certify import Certificate, Uncertifiable, certify
from invent_chain.calibrate.drift import Drift, DriftMonitor
from invent_chain.calibrate.maps import ConfidenceMap, cross_fitted_confidence, fit_map

__all__ = [
    "Calibration",
    "Cascade",
    "Certificate",
    "ConfidenceMap",
    "Drift",
    "DriftMonitor",
    "Uncertifiable",
    "certify",
    "certify_cascade",
    "cross_fitted_confidence",
    "fit_map",
]
