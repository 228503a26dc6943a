"""What a run ran on: enough to say whether two runs may be compared."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import attnlab


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Versions and hardware behind a run's numbers."""

    attnlab: str
    python: str
    numpy: str
    #: name and version of the linear algebra library that numpy was built with
    blas: str
    #: threads that it may use, as its environment variables or the processor's cores say
    threads: int
    cpu: str
    system: str


def this_machine() -> Machine:
    """The machine that this process runs on."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return Machine(
        attnlab=attnlab.__version__,
        python=platform.python_version(),
        numpy=np.__version__,
        blas=f"{blas['name']} {blas['version']}",
        threads=blas_threads(),
        cpu=processor(),
        system=f"{platform.system()} {platform.machine()}",
    )


def blas_threads() -> int:
    """The number of threads that matrix products may use."""
    from threadpoolctl import threadpool_info  # here: it loads ctypes and looks at every library of the process

    return max([pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"], default=1)


def processor() -> str:
    """The processor's name."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or 'unknown'} × {os.cpu_count()}"
