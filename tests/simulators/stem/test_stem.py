import subprocess
import sys
from importlib import import_module
from pkgutil import iter_modules

from twinloop.simulators import stem

PRIVATE = {"lanes", "lane_path"}


def test_the_package_names_every_module_but_the_kernels():
    modules = {module.name for module in iter_modules(stem.__path__)}
    assert set(stem.__all__) == modules - PRIVATE
    assert stem.__all__ == sorted(stem.__all__)


def test_every_module_says_what_of_it_is_public_and_has_it():
    for name in stem.__all__:
        module = import_module(f"{stem.__name__}.{name}")
        assert module.__doc__
        assert all(hasattr(module, public) for public in module.__all__)


def test_the_microscope_costs_no_torch():
    code = (
        "import sys; from twinloop.simulators.stem import acquisition, column, convolution, damage,"
        " exposure, image_models, microscope, stock, xrays; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
