"""STEM: what electrons do on their way through atoms, and what a microscope makes of it.

The engine, in torch, on a CPU or a GPU: multislice and PRISM give the exact elastic answer of the model;
the Gram form turns it into images for any aberrations at the cost of one gather. `imager.Imager` is
its door; each part is useful alone.

The microscope around it, in numpy: a hidden column and its panels (`microscope`, `column`), a scan with
its errors and its counts (`acquisition`), what each pixel sees by either model (`image_models`,
`convolution`), what the beam does to atoms (`exposure`, `damage`), X-rays (`xrays`), and specimens
(`specimens`, `stock`).

Each name below is a module; none is imported before it is asked for, so that the microscope costs no
torch. `lanes` and `lane_path` are how `multislice` computes on a CPU, and may change.
"""

__all__ = [
    "aberrations",
    "acquisition",
    "autofocus",
    "column",
    "compute",
    "convolution",
    "damage",
    "detectors",
    "electrons",
    "exposure",
    "gram",
    "grid",
    "image_models",
    "imager",
    "microscope",
    "multislice",
    "phonons",
    "potential",
    "prism",
    "probe",
    "scattering_factors",
    "specimens",
    "spectrum",
    "stock",
    "xrays",
]
