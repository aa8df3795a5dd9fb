"""What a scenario is: a function that does a fault and its cure in a world of
its own and says what it measured, with the bounds that it has to keep."""

from dataclasses import dataclass, field

# Seconds from the cure to a visitor's first byte, whatever the fault was.
WITHIN = 90
# Seconds from a fault to a tunnel again, for faults that only silence tells of
# while a visitor waits.
DETECT_WITH_STREAMS = 40
# The same with nobody there: `keepalive`, and ten seconds for the answer, and
# a new tunnel. The short runs set the shortest keepalive there is.
KEEPALIVE, SHORT_KEEPALIVE = 116, 20
IDLE_MARGIN = 40


@dataclass
class Measure:
    """What one run has shown: seconds from the cure, or from the fault where
    there is no cure but a new tunnel, and a remark."""

    cure: float = None
    fault: float = None
    remark: str = ""


@dataclass
class Case:
    """One line of the table."""

    name: str
    function: object
    arguments: dict
    world: dict
    within: float
    detect: float
    is_quick: bool
    is_full: bool
    is_compared: bool
    is_once: bool

    def judge(self, measure):
        """What is wrong with a measure, in words, or nothing."""
        for seconds, bound, what in ((measure.cure, self.within, "cure"), (measure.fault, self.detect, "fault")):
            if seconds is not None and bound is not None and seconds > bound:
                return f"{seconds:.1f} s after the {what}, {bound:.0f} s at most"
        return ""


@dataclass
class Registry:
    cases: list = field(default_factory=list)


REGISTRY = Registry()


def scenario(title, quick=(), full=({},), compare=False, once=False, within=WITHIN, detect=None, **world):
    """Registers a function as a scenario. `quick` and `full` are its arguments
    in the short and the long run, a dict for each line of the table, and fill
    the braces in `title`. `compare`: other agents run it as well. `once`: more
    runs do not repeat it. `world` is for World."""

    def register(function):
        known = {}
        for arguments, is_full in [*((one, False) for one in quick), *((one, True) for one in full)]:
            name = title.format(**arguments)
            case = known.get(name)
            if case is None:
                case = Case(name, function, arguments, world, within, detect, not is_full, is_full, compare, once)
                known[name] = case
                REGISTRY.cases.append(case)
            elif is_full:
                case.is_full = True
        return function

    return register


def idle_bound(keepalive):
    """Seconds after which a silent loss has to be mended with nobody there."""
    return keepalive + IDLE_MARGIN
