"""The GPU as the check sees it: times by events, graphs, memory."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any, Protocol

from .._cupy import cupy, device_count

Call = Callable[[], object]
# The L2 of an H100, where CuPy does not say.
USUAL_L2 = 50 * 2**20
LASTING = ("driver_version", "power.limit", "clocks.max.sm", "clocks.max.mem")
MOMENTARY = ("clocks.sm", "clocks.mem", "temperature.gpu")


class Device(Protocol):
    """What is needed of a device."""

    name: str
    l2_bytes: int
    processors: int

    def available(self) -> int:
        """Return how many bytes are free."""
        ...

    def seconds(self, calls: list[Call]) -> float:
        """Return how long these calls take, one after the other."""
        ...

    def captured(self, calls: list[Call]) -> Call:
        """Return one call that replays the launches of all of them."""
        ...

    def synchronize(self) -> None:
        """Wait for all launches; raise what one of them has run into."""
        ...

    def release(self) -> None:
        """Give back the memory that libraries keep in reserve."""
        ...

    def details(self) -> dict[str, Any]:
        """Return what figures may depend on, for the record of the environment."""
        ...

    def moment(self) -> dict[str, Any]:
        """Return what changes by the minute."""
        ...


class Gpu:
    """The current GPU; everything runs on a stream of its own, `stream`."""

    def __init__(self) -> None:
        """Raise ImportError without CuPy, RuntimeError without a GPU."""
        device_count()
        cuda = cupy().cuda
        self._properties = cuda.runtime.getDeviceProperties(cuda.runtime.getDevice())
        self.name = self._properties["name"].decode()
        self.l2_bytes = int(self._properties.get("l2CacheSize", USUAL_L2))
        self.processors = int(self._properties["multiProcessorCount"])
        self.stream = cuda.Stream(non_blocking=True)

    def available(self) -> int:
        """Return what the driver has free and what CuPy keeps in reserve."""
        cp = cupy()
        free, _ = cp.cuda.runtime.memGetInfo()
        return free + cp.get_default_memory_pool().free_bytes()

    def seconds(self, calls: list[Call]) -> float:
        """Return the time between two events around the calls."""
        cuda = cupy().cuda
        start, end = cuda.Event(), cuda.Event()
        start.record(self.stream)
        for call in calls:
            call()
        end.record(self.stream)
        end.synchronize()
        return cuda.get_elapsed_time(start, end) / 1e3

    def captured(self, calls: list[Call]) -> Call:
        """Return the replay of a graph; what the calls return is kept alive by it."""
        # All results at once: then CuPy has their memory in reserve, and nothing is
        # allocated while launches are noted.
        kept = [call() for call in calls]
        self.stream.synchronize()
        del kept
        self.stream.begin_capture()
        try:
            kept = [call() for call in calls]
        finally:
            graph = self.stream.end_capture()

        def replay() -> object:
            graph.launch(self.stream)
            return kept

        return replay

    def synchronize(self) -> None:
        """Wait for the device."""
        cupy().cuda.runtime.deviceSynchronize()

    def release(self) -> None:
        """Empty the reserves of CuPy, and of torch where that is in use."""
        self.stream.synchronize()
        cupy().get_default_memory_pool().free_all_blocks()
        if torch := sys.modules.get("torch"):
            torch.cuda.empty_cache()

    def details(self) -> dict[str, Any]:
        """Return name, versions and limits."""
        runtime = cupy().cuda.runtime
        major, minor = (self._properties[key] for key in ("major", "minor"))
        found = {
            "name": self.name,
            "compute_capability": f"{major}.{minor}",
            "processors": self.processors,
            "l2_bytes": self.l2_bytes,
            "cupy": cupy().__version__,
            "cuda_runtime": runtime.runtimeGetVersion(),
        }
        return found | self._queried(LASTING)

    def moment(self) -> dict[str, Any]:
        """Return clocks and temperature."""
        return self._queried(MOMENTARY)

    def _queried(self, names: tuple[str, ...]) -> dict[str, str]:
        runtime = cupy().cuda.runtime
        return queried(names, runtime.deviceGetPCIBusId(runtime.getDevice()))


def queried(names: tuple[str, ...], bus: str) -> dict[str, str]:
    """Return what nvidia-smi says of a GPU; nothing where there is no such program."""
    wanted = f"--query-gpu={','.join(names)}"
    command = ["nvidia-smi", f"--id={bus}", wanted, "--format=csv,noheader"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    values = done.stdout.strip().splitlines()[:1]
    return dict(
        zip(names, (v.strip() for v in ",".join(values).split(",")), strict=False)
    )
