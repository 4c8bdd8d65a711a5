"""A device without a GPU, whose clock is written down, and small workloads."""

from ssmref.bench.workloads import Workload

SCAN = Workload(
    "mamba1.selective_scan",
    "gpu",
    "toy",
    {"batch": 2, "length": 40, "channels": 5, "state": 3},
    {"batch": 2, "length": 7, "channels": 3, "state": 3},
    {"batch": 1, "sequences": 1, "channels": 2},
)
SSD = Workload(
    "mamba2.ssd",
    "gpu",
    "toy",
    {"batch": 1, "length": 70, "heads": 2, "headdim": 8, "groups": 1, "state": 16},
    {"batch": 1, "length": 70, "heads": 2, "headdim": 8, "groups": 1, "state": 16},
    {"batch": 1, "sequences": 1},
)
STEP = Workload(
    "layers.causal_conv1d_step",
    "gpu",
    "toy",
    {"batch": 7, "channels": 4, "width": 4},
    {"batch": 3, "channels": 4, "width": 4},
    {"batch": 1, "slots": 1},
)


class Clock:
    """A device that notes every call; one that returns a name takes its seconds."""

    name, l2_bytes, processors = "Toy GPU", 0, 1

    def __init__(self, **seconds):
        self.times, self.log, self.free = seconds, [], 10**9

    def available(self):
        return self.free

    def seconds(self, calls):
        results = [call() for call in calls]
        names = [r if isinstance(r, str) else "" for r in results]
        self.log.append(names)
        return sum(self.times.get(name, 1e-3) for name in names)

    def captured(self, calls):
        for call in calls:
            call()
        return self.named("graph")

    def synchronize(self):
        pass

    def release(self):
        self.log.append("released")

    def moment(self):
        return {"clocks.sm": "1980 MHz"}

    def details(self):
        return {"name": self.name}

    @staticmethod
    def named(name):
        def call():
            return name

        return call
