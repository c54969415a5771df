"""What the twins cost: RHEED frames, growths with and without cells, and a whole scan of each twin.

CPU seconds of one thread. Ratios are taken in one run: a frame at any azimuth against one along an
axis, an alloy growth with live frames against a plain growth of the same dose, scans of 128 x 128
against 512 x 512 pixels. The memory of a scan is the peak of what Python and numpy allocate in it, so
that it can be compared with the size of the image.
"""

import argparse
import asyncio
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measure import median, write_result

from twinloop.clocks import VirtualClock
from twinloop.instruments.standin.settings import ChamberSettings, read_settings
from twinloop.instruments.standin.stage_twin import StageTwin
from twinloop.instruments.standin.testing import Bench, command_for
from twinloop.instruments.standin.vessel import Stage, Vessel
from twinloop.instruments.stem.twin import STEMTwin
from twinloop.instruments.stm.twin import STMTwin
from twinloop.instruments.xrd.twin import XRDTwin
from twinloop.simulators import rheed
from twinloop.simulators.film_structure import FilmStructure
from twinloop.simulators.kmc import Film, GrowthParameters
from twinloop.simulators.specimen import Specimen

SIZE = 96
SUBSTRATE_K, FLUX_ML_PER_S, DOSE_ML = 690.0, 0.3, 6.0
SHAPE, PIXEL_DEG = (160, 192), 0.02


def heights() -> np.ndarray[Any, np.dtype[np.int32]]:
    """Return the film that all of them look at."""
    film = Film.flat(size=SIZE, parameters=GrowthParameters(multi_hop=8), seed=1)
    film.advance(
        temperature_K=SUBSTRATE_K, flux_ML_per_s=FLUX_ML_PER_S, duration_s=DOSE_ML / FLUX_ML_PER_S
    )
    return np.array(film.heights, dtype=np.int32)


def cpu_s(work: Callable[[], object], repeats: int) -> float:
    """Return the median CPU time of something [s]; once before, to compile and fill tables."""
    work()
    spent = []
    for _ in range(repeats):
        began_s = time.process_time()
        work()
        spent.append(time.process_time() - began_s)
    return median(spent)


def frames(repeats: int) -> dict[str, float]:
    """Return the cost of a RHEED frame along an axis and at another azimuth."""
    surface = heights()

    def frame(azimuth_deg: float) -> object:
        return rheed.frame(surface, azimuth_deg=azimuth_deg, shape=SHAPE, pixel_deg=PIXEL_DEG)

    along, turned = cpu_s(lambda: frame(0.0), repeats), cpu_s(lambda: frame(20.0), repeats)
    return {"along_axis_s": along, "any_azimuth_s": turned, "ratio": median([turned / along])}


def growths(repeats: int) -> dict[str, float]:
    """Return the cost of a growth of 4 ML: plain chamber, and alloy with live frames."""

    def grow(settings: ChamberSettings, action: str, **more: float) -> object:
        bench = Bench(settings)
        asked = {"flux_ML_per_s": FLUX_ML_PER_S, "dose_ML": 4.0, **more}
        bench.run(bench.prepare("s1", substrate_K=SUBSTRATE_K))
        if more:
            bench.run(
                bench.act(bench.mbe, "heat_cells", "s1", gallium_K=1190.0, aluminium_K=1330.0)
            )
        bench.run(bench.act(bench.mbe, action, "s1", **asked))
        bench.close()
        return None

    plain_settings = read_settings("film_chamber.yaml")
    alloy_settings = read_settings("alloy_chamber.yaml")
    plain = cpu_s(lambda: grow(plain_settings, "grow"), repeats)
    alloy = cpu_s(lambda: grow(alloy_settings, "grow_alloy", aluminium=0.5), repeats)
    return {"plain_s": plain, "alloy_with_frames_s": alloy, "ratio": median([alloy / plain])}


class Rig:
    """A twin with the film on its stage.

    Args:
        kind: class of the twin.
        first: actions that make it ready, with their arguments.
    """

    def __init__(
        self, kind: type[StageTwin], first: Sequence[tuple[str, dict[str, Any]]] = ()
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        home = Path(self._folder.name)
        vessel, door = Vessel(home / "vessel"), Stage(home / "door")
        door.write(Specimen("s1", 7, FilmStructure(heights(), np.ones(1), 0.2)), "speed/t/0/0")
        vessel.give("speed/t/1/0", door)
        self.twin = kind(seed=11, vessel=str(home / "vessel"), folder=str(home / "twin"))
        self.twin.attach(VirtualClock())
        self.twin.connect()
        for action, arguments in (("take", {}), *first):
            self.act(action, **arguments)

    def act(self, action: str, **arguments: Any) -> Any:
        """Perform one action."""
        command = command_for(self.twin, action, "s1", **arguments)
        self.twin.begin(command)
        return asyncio.run(getattr(self.twin, action)(**arguments))

    def cost(self, action: str, **arguments: Any) -> dict[str, float]:
        """Return CPU seconds of an action, and the peak of what it allocates [MB]."""
        self.act(action, **arguments)
        began_s = time.process_time()
        self.act(action, **arguments)
        spent_s = time.process_time() - began_s
        tracemalloc.start()
        self.act(action, **arguments)
        _, peak_B = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return {"cpu_s": median([spent_s]), "peak_MB": median([peak_B / 1e6])}


def scans() -> dict[str, dict[str, float]]:
    """Return what a scan of each twin costs."""
    stm = Rig(STMTwin, [("approach", {}), ("set_feedback", {"setpoint_nA": 0.1, "bias_V": 1.0})])
    stem = Rig(STEMTwin, [("set_optics", {})])
    xrd = Rig(XRDTwin, [("align", {"two_theta_deg": 31.63})])
    frame = {"width_A": 300.0, "height_A": 300.0, "line_time_s": 0.5}
    return {
        "stm, 128 x 128, 0.5 s a line": stm.cost("scan", pixels_x=128, pixels_y=128, **frame),
        "stm, 512 x 512, 0.5 s a line": stm.cost("scan", pixels_x=512, pixels_y=512, **frame),
        "stem, 256 x 256": stem.cost("scan", field_A=50.0, pixels=256),
        "stem, 512 x 512": stem.cost("scan", field_A=100.0, pixels=512),
        "xrd, 281 points": xrd.cost("scan", start_deg=25.0, stop_deg=39.0, count_s=4.0),
    }


def main() -> None:
    """Measure and write speed/results/instruments.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    write_result(
        "instruments",
        {"rheed_frame": frames(repeats), "growth_of_4_ML": growths(repeats), "scans": scans()},
    )


if __name__ == "__main__":
    main()
