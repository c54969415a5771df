"""STEM: what electrons do on their way through atoms, in torch, on a CPU or a GPU.

Multislice and PRISM give the exact elastic answer of the model; the Gram form turns it into images
for any aberrations at the cost of one gather. `Imager` is the door; each part is useful alone.
"""

__all__ = [
    "aberrations",
    "autofocus",
    "compute",
    "detectors",
    "electrons",
    "gram",
    "grid",
    "imager",
    "multislice",
    "phonons",
    "potential",
    "prism",
    "probe",
    "scattering_factors",
    "specimens",
    "spectrum",
]
