"""Compiles the native kernels into the package where there is a C compiler; pyproject.toml has the rest.

Without a compiler, or with one that fails, the package is installed without them, for libXNNPACK or torch.
EDGE_AGENT_MACHINE names another machine to build a wheel for (`make wheels`).
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools before 70.1
    from wheel.bdist_wheel import bdist_wheel

HERE = Path(__file__).resolve().parent
PACKAGE = Path("edge_agent/inference/native")
MACHINE = os.environ.get("EDGE_AGENT_MACHINE", platform.machine())

sys.path.insert(0, str(HERE / "native"))
import build  # noqa: E402


class BuildWithKernels(build_py):
    """Copies the package, and compiles the kernels into it: into the source where that is installed."""

    def run(self):
        super().run()
        target = (HERE if self.editable_mode else Path(self.build_lib)) / PACKAGE
        if not self.editable_mode:
            for copied in target.glob("kernels-*.so"):
                copied.unlink()  # of whatever machine they were compiled for in the source
        compiler = build.find_compiler(MACHINE)
        if compiler is None:
            print(
                f"no C compiler for {MACHINE}: edge-agent is installed without its native kernels",
                file=sys.stderr,
            )
            return
        try:
            self.compiled = build.build(target, MACHINE, compiler)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"edge-agent is installed without its native kernels: {error}")

    def get_outputs(self, include_bytecode=True):
        return [*super().get_outputs(include_bytecode), *map(str, getattr(self, "compiled", []))]


class WithKernels(Distribution):
    """Belongs to one machine where the kernels are compiled."""

    def has_ext_modules(self):
        return build.find_compiler(MACHINE) is not None


class WheelForOneMachine(bdist_wheel):
    """Names the machine in the wheel's name; any Python 3 can load the kernels."""

    def get_tag(self):
        if self.root_is_pure:
            return super().get_tag()
        return "py3", "none", f"linux_{MACHINE}"


setup(distclass=WithKernels, cmdclass={"build_py": BuildWithKernels, "bdist_wheel": WheelForOneMachine})
